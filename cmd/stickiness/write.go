package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/stateful-route/stateful-route/stickiness/report"
)

// write writes the table and the results.
func write(o options, rows []report.Row) error {
	results, err := report.JSON(rows)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return fmt.Errorf("results: %w", err)
	}
	for name, content := range map[string][]byte{"table.md": []byte(report.Table(rows)), "results.json": results} {
		if err := os.WriteFile(filepath.Join(o.out, name), content, 0o644); err != nil {
			return fmt.Errorf("results: %w", err)
		}
	}
	return nil
}

// copyLogs copies what can be read by people: no sockets, no shared memory.
func copyLogs(to, from string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		const largest = 8 << 20
		if info, err := d.Info(); err != nil || info.Size() > largest {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, name)), 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), content, 0o644)
	})
}
