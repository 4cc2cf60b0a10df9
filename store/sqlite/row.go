package sqlite

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ringback/ringback/job"
)

// binder binds the parameters of a statement in their order. The first error is
// kept until exec.
type binder struct {
	conn *conn
	st   *sqlite3.Stmt
	n    int
	err  error
}

func (c *conn) bind(sql string) *binder {
	return &binder{conn: c, st: c.stmt(sql)}
}

func (b *binder) next(err error) *binder {
	if b.err == nil {
		b.err = err
	}
	return b
}

func (b *binder) int(v int64) *binder   { b.n++; return b.next(b.st.BindInt64(b.n, v)) }
func (b *binder) text(v string) *binder { b.n++; return b.next(b.st.BindText(b.n, v)) }
func (b *binder) null() *binder         { b.n++; return b.next(b.st.BindNull(b.n)) }
func (b *binder) key(id job.ID) *binder { return b.int(int64(id.Key())) }
func (b *binder) id(id job.ID) *binder  { b.n++; return b.next(b.st.BindBlob(b.n, id[:])) }
func (b *binder) bool(v bool) *binder   { b.n++; return b.next(b.st.BindBool(b.n, v)) }

// blob binds nil as NULL.
func (b *binder) blob(v []byte) *binder {
	if v == nil {
		return b.null()
	}
	b.n++
	return b.next(b.st.BindBlob(b.n, v))
}

// opt binds "" as NULL.
func (b *binder) opt(v string) *binder {
	if v == "" {
		return b.null()
	}
	return b.text(v)
}

// time binds the zero time as 0.
func (b *binder) time(t time.Time) *binder { return b.int(millis(t)) }

// json binds v as JSON text, a nil pointer as NULL.
func (b *binder) json(v any, isNil bool) *binder {
	if isNil {
		return b.null()
	}
	text, err := json.Marshal(v)
	if err != nil {
		return b.next(err)
	}
	return b.text(string(text))
}

func (b *binder) exec() error {
	if b.err != nil {
		return b.err
	}
	return b.conn.exec(b.st)
}

// each runs the statement and calls f for each row.
func (b *binder) each(f func(*scanner)) error {
	if b.err != nil {
		return b.err
	}
	for b.st.Step() {
		f(&scanner{st: b.st})
	}
	return b.conn.done(b.st)
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// scanner reads the columns of a row in their order.
type scanner struct {
	st *sqlite3.Stmt
	n  int
}

func (s *scanner) int() int64   { s.n++; return s.st.ColumnInt64(s.n - 1) }
func (s *scanner) text() string { s.n++; return s.st.ColumnText(s.n - 1) }
func (s *scanner) bool() bool   { return s.int() != 0 }

// blob is nil for NULL.
func (s *scanner) blob() []byte {
	s.n++
	return slices.Clone(s.st.ColumnRawBlob(s.n - 1))
}

func (s *scanner) id() (id job.ID) {
	s.n++
	copy(id[:], s.st.ColumnRawBlob(s.n-1))
	return id
}

func (s *scanner) time() time.Time {
	if ms := s.int(); ms > 0 {
		return time.UnixMilli(ms).UTC()
	}
	return time.Time{}
}

func (s *scanner) micros() time.Duration { return time.Duration(s.int()) * time.Microsecond }

// json reads JSON text into v, and tells whether there was any. Only we write
// it: what does not parse is a damaged row, and shows as missing.
func (s *scanner) json(v any) bool {
	s.n++
	text := s.st.ColumnRawText(s.n - 1)
	return len(text) > 0 && json.Unmarshal(text, v) == nil
}

func (s *scanner) words() []string { return strings.Fields(s.text()) }

// header is written as lines of "Name: value"; values hold no line break.
func encodeHeader(h http.Header) string {
	size := 0
	for name, values := range h {
		for _, v := range values {
			size += len(name) + len(v) + 3
		}
	}
	b := make([]byte, 0, size)
	for name, values := range h {
		for _, v := range values {
			b = append(append(append(append(b, name...), ": "...), v...), '\n')
		}
	}
	return string(b)
}

func decodeHeader(text string) http.Header {
	h := http.Header{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); ok {
			h[name] = append(h[name], value)
		}
	}
	return h
}
