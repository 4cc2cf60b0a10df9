package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"
)

// checkFiles looks at what the gateway has left on disk: the store is sound, and it
// names every body file, and no other.
func (h *harness) checkFiles() (err error) {
	store, err := sqlite3.OpenFlags("file:"+h.gateway.path("ringback.db"), sqlite3.OPEN_READWRITE|sqlite3.OPEN_URI)
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	verdict, err := column(store, `PRAGMA integrity_check`)
	if err != nil {
		return err
	}
	if len(verdict) != 1 || verdict[0] != "ok" {
		h.report.violate("integrity check of the store: %q", verdict)
	}
	named, err := column(store, `SELECT body_ref FROM requests WHERE body_ref <> '' UNION SELECT body_ref FROM results WHERE body_ref <> ''`)
	if err != nil {
		return err
	}
	missing := map[string]bool{}
	for _, name := range named {
		missing[name] = true
	}
	root := h.gateway.path("ringback-bodies")
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Dir(path) == root { // beside the folders is who owns them
			return err
		}
		h.report.BodyFiles++
		if !missing[d.Name()] {
			h.report.violate("body file %s belongs to no job", d.Name())
		}
		delete(missing, d.Name())
		return nil
	})
	for name := range missing {
		h.report.violate("body file %s is missing", name)
	}
	return err
}

// column reads the first column of a query.
func column(store *sqlite3.Conn, query string) (values []string, err error) {
	rows, _, err := store.Prepare(query)
	if err != nil {
		return nil, fmt.Errorf("read the store: %w", err)
	}
	for rows.Step() {
		values = append(values, rows.ColumnText(0))
	}
	if err := rows.Close(); err != nil {
		return nil, fmt.Errorf("read the store: %w", err)
	}
	return values, nil
}
