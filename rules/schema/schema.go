// Package schema holds the JSON Schemas of what Sallyport reads and writes, made
// from the Go types by go generate. They describe the form; the loaders check
// more than a schema can say.
package schema

import _ "embed"

// Policy is the schema of .github/sallyport.yml (JSON Schema, draft 2020-12).
// It and Targets refuse unknown keys.
//
//go:embed policy.schema.json
var Policy []byte

// Targets is the schema of the server's targets file.
//
//go:embed targets.schema.json
var Targets []byte

// Change is the schema of one line of sallyport classify. It and Decision allow
// further fields, because fields may be added.
//
//go:embed change.schema.json
var Change []byte

// Decision is the schema of a decision, as check and classify print it.
//
//go:embed decision.schema.json
var Decision []byte
