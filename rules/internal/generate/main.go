// Command generate writes what is made from the types of package rules: the JSON
// Schemas in rules/schema and the reference pages docs/policy.md and
// docs/reasons.md. It is run by go generate in the folder rules; a test holds the
// committed files against it.
package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// run writes all files below dir, the folder of package rules.
func run(dir string) error {
	files, err := generate(dir)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := os.WriteFile(filepath.Join(dir, name), files[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate makes all files, by their names relative to dir, the folder of package
// rules, whose comments become descriptions.
func generate(dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for name, s := range schemas() {
		data, err := s.build(dir)
		if err != nil {
			return nil, fmt.Errorf("schema of %s: %w", name, err)
		}
		files[filepath.Join("schema", name+".schema.json")] = data
	}
	files[filepath.Join("..", "docs", "policy.md")] = policyPage()
	files[filepath.Join("..", "docs", "reasons.md")] = reasonsPage()
	return files, nil
}
