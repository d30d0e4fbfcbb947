package main

import (
	"github.com/sallyport/sallyport/rules/schema"
)

// schemaKind is one of the published JSON Schemas.
type schemaKind int

const (
	schemaPolicy schemaKind = iota
	schemaChange
	schemaDecision
)

// printSchema prints a JSON Schema as it is published.
func (a *app) printSchema(k schemaKind) error {
	text := map[schemaKind][]byte{
		schemaPolicy:   schema.Policy,
		schemaChange:   schema.Change,
		schemaDecision: schema.Decision,
	}[k]
	_, err := a.stdout.Write(text)
	return err
}
