package api

import (
	"encoding/base64"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

const (
	defaultPageSize = 50
	maxPageSize     = 200
)

// Paging is what every list with a cursor takes. It is exported since huma
// looks into no other embedded structs.
type Paging struct {
	Cursor string `query:"cursor" maxLength:"64" doc:"The next of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most."`
}

// size is how many the page may hold.
func (in Paging) size() int {
	if in.Limit <= 0 {
		return defaultPageSize
	}
	return min(in.Limit, maxPageSize)
}

// before is the id that the page's members are older than, zero for the first page.
func (in Paging) before() (job.ID, error) {
	if in.Cursor == "" {
		return job.ID{}, nil
	}
	id, ok := parseCursor(in.Cursor)
	if !ok {
		return job.ID{}, kindInvalidCursor.problem("")
	}
	return id, nil
}

// cursors have one text each, like the ids in them.
var cursorEncoding = base64.RawURLEncoding.Strict()

func makeCursor(id job.ID) string { return cursorEncoding.EncodeToString(id[:]) }

func parseCursor(s string) (id job.ID, ok bool) {
	b, err := cursorEncoding.DecodeString(s)
	if err != nil || len(b) != len(id) || makeCursor(job.ID(b)) != s {
		return job.ID{}, false
	}
	return job.ParseJob(job.ID(b).Job()) // tells a UUIDv7 from other 16 bytes
}

// page makes a page of what a store returned for one more than limit.
func page[S, T any](found []S, limit int, id func(S) job.ID, show func(S) T) client.Page[T] {
	p := client.Page[T]{Data: make([]T, 0, min(len(found), limit))}
	for i, s := range found {
		if i == limit {
			next := makeCursor(id(found[i-1]))
			p.Next = &next
			break
		}
		p.Data = append(p.Data, show(s))
	}
	return p
}

// badParameter is the problem of one query parameter.
func badParameter(name, detail string) *Problem {
	p := kindInvalidParameter.problem("")
	p.Errors = []ProblemItem{{Detail: detail, Parameter: name}}
	return p
}
