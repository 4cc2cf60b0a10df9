package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/ringback/ringback/client"
)

// fields are what --output table shows of one thing. Those without a value are
// left out.
type fields [][2]string

// show writes one thing in the format that --output names.
func (c *cli) show(v any, f fields) error {
	if c.output != "table" {
		return c.showJSON(v)
	}
	width := 0
	for i, field := range f {
		f[i][0] = clean(field[0])
		if field[1] != "" {
			width = max(width, len(f[i][0]))
		}
	}
	for _, field := range f {
		if field[1] == "" {
			continue
		}
		name := fmt.Sprintf("%-*s", width, field[0])
		if err := c.print(c.paint(faint, name) + "  " + clean(field[1])); err != nil {
			return err
		}
	}
	return nil
}

// showJSON writes v as a line of JSON, or over several lines for --output json.
func (c *cli) showJSON(v any) error {
	b, err := asJSON(v)
	if err != nil {
		return err
	}
	if c.output == "json" {
		b = indent(b, "")
	}
	return c.print(string(cleanJSON(b)))
}

// asJSON is json.Marshal but for <, > and &, which are for people here.
func asJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("write the output: %w", err)
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// indent lays JSON out over several lines, each after the first behind prefix.
// What is not JSON stays as it is.
func indent(b []byte, prefix string) []byte {
	var out bytes.Buffer
	if err := json.Indent(&out, b, prefix, "  "); err != nil {
		return b
	}
	return out.Bytes()
}

// table is how a list is shown with --output table.
type table[T any] struct {
	header []string
	row    func(T) []string
}

// showList writes a list in the format that --output names, at most limit of its
// members; 0 for all.
func showList[T any](c *cli, list iter.Seq2[T, error], limit int, t table[T]) error {
	var members []T
	n, more := 0, false
	for member, err := range list {
		if err != nil {
			return err
		}
		if limit > 0 && n == limit {
			more = true
			break
		}
		n++
		// A table needs all its rows for their width, an array its end.
		if c.output != "jsonl" {
			members = append(members, member)
		} else if err := c.showJSON(member); err != nil {
			return err
		}
	}
	if err := showAll(c, members, t); err != nil {
		return err
	}
	if more {
		c.say("there are more: --limit %d shows the first only", limit)
	}
	return nil
}

func showAll[T any](c *cli, members []T, t table[T]) error {
	switch {
	case c.output == "json" && members == nil:
		return c.print("[]")
	case c.output == "json":
		return c.showJSON(members)
	case c.output == "jsonl":
		return nil
	case len(members) == 0:
		c.say("there are none")
		return nil
	}
	return c.showTable(t.header, func(yield func([]string) bool) {
		for _, member := range members {
			if !yield(t.row(member)) {
				return
			}
		}
	})
}

func (c *cli) showTable(header []string, rows iter.Seq[[]string]) error {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	writeRow(w, header)
	for row := range rows {
		writeRow(w, row)
	}
	if err := w.Flush(); err != nil {
		return writeError(err)
	}
	for i, line := range strings.Split(strings.TrimRight(b.String(), "\n"), "\n") {
		line = strings.TrimRight(line, " ")
		if i == 0 {
			line = c.paint(bold, line)
		}
		if err := c.print(line); err != nil {
			return err
		}
	}
	return nil
}

func writeRow(w io.Writer, cells []string) {
	for i, cell := range cells {
		if cell == "" {
			cell = "-"
		}
		if i > 0 {
			fmt.Fprint(w, "\t")
		}
		fmt.Fprint(w, clean(cell))
	}
	fmt.Fprintln(w)
}

// local is a moment for people: in their zone, to the second.
func local(t client.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// count is a number for people, empty for 0.
func count(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
