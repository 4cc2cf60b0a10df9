package sqlite

import (
	"context"
	"fmt"
)

// Finding is one thing that is wrong in a store.
type Finding struct {
	What string `json:"what"`
	// Rows are how many have it; 0 where that is no number of rows.
	Rows int64 `json:"rows,omitempty"`
}

// contradictions are queries that count what cannot be: each commit of a gateway
// keeps them all at 0.
var contradictions = []struct{ what, query string }{
	{"jobs without a request", `SELECT count(*) FROM jobs j WHERE NOT EXISTS (SELECT 1 FROM requests r WHERE r.key = j.key)`},
	{"requests without a job", `SELECT count(*) FROM requests r WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.key = r.key)`},
	{"jobs whose result is missing", `SELECT count(*) FROM jobs j WHERE j.result_status <> 0 AND NOT j.result_echo
		AND NOT EXISTS (SELECT 1 FROM results r WHERE r.key = j.key)`},
	{"results without a job", `SELECT count(*) FROM results r WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.key = r.key)`},
	{"runs without a job", `SELECT count(*) FROM runs r WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.key = r.job)`},
	{"waits without a job that waits", `SELECT count(*) FROM waits w WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.key = w.key AND j.state = 3)`},
	{"questions without a job", `SELECT count(*) FROM questions q WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.key = q.job)`},
	{"open questions of jobs at their end", `SELECT count(*) FROM questions q JOIN jobs j ON j.key = q.job WHERE q.state = 1 AND j.state >= 4`},
	{"callbacks without a job", `SELECT count(*) FROM callbacks c WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.key = c.job AND j.id = c.job_id)`},
	{"attempts without a callback", `SELECT count(*) FROM attempts a WHERE NOT EXISTS (SELECT 1 FROM callbacks c WHERE c.key = a.callback)`},
	{"bodies without a callback", `SELECT count(*) FROM callback_bodies b WHERE NOT EXISTS (SELECT 1 FROM callbacks c WHERE c.key = b.key)`},
	{"jobs without an app", `SELECT count(*) FROM jobs j WHERE NOT EXISTS (SELECT 1 FROM apps a WHERE a.name = j.app)`},
	{"keys without an app", `SELECT count(*) FROM keys k WHERE NOT EXISTS (SELECT 1 FROM apps a WHERE a.name = k.app)`},
	{"endpoints without an app", `SELECT count(*) FROM endpoints e WHERE NOT EXISTS (SELECT 1 FROM apps a WHERE a.name = e.app)`},
	{"jobs in a state that there is not", `SELECT count(*) FROM jobs WHERE state NOT BETWEEN 1 AND 7`},
	{"jobs that are at their end and still due, or neither", `SELECT count(*) FROM jobs WHERE (state >= 4) <> (due_at IS NULL)`},
	{"callbacks in a state that there is not", `SELECT count(*) FROM callbacks WHERE state NOT BETWEEN 1 AND 4`},
	{"callbacks that are settled and still due, or neither", `SELECT count(*) FROM callbacks WHERE (state > 1) <> (due_at IS NULL)`},
	{"callbacks that wait for none before them", `SELECT count(*) FROM callbacks b WHERE due_at = -1 AND ` + nothingBefore + ` AND ` + noneInLine},
	{"lines where two have their turn", `SELECT count(*) FROM (SELECT 1 FROM callbacks WHERE state = 1 AND seq IS NOT NULL AND due_at <> -1
		GROUP BY lane, order_key HAVING count(*) > 1)`},
	{"numbers that were given twice", `SELECT count(*) FROM (SELECT 1 FROM callbacks WHERE seq IS NOT NULL GROUP BY lane, order_key, seq HAVING count(*) > 1)`},
	{"request bodies of another size", `SELECT count(*) FROM requests WHERE body_ref IS NULL AND body_size <> coalesce(length(body), 0)`},
	{"result bodies of another size", `SELECT count(*) FROM results WHERE body_ref IS NULL AND body_size <> coalesce(length(body), 0)`},
}

// Check looks for damage in the file, and for rows that contradict each other. It
// reads all that is stored.
func (f *File) Check(ctx context.Context) (found []Finding, err error) {
	err = f.within(ctx, func() (err error) {
		found, err = f.conn.inspect()
		return err
	})
	return found, wrap(err, "check the store")
}

func (c *conn) inspect() (found []Finding, err error) {
	err = c.bind("PRAGMA integrity_check").each(func(row *scanner) {
		if text := row.text(); text != "ok" {
			found = append(found, Finding{What: "SQLite: " + text})
		}
	})
	if err != nil {
		return nil, err
	}
	for _, no := range contradictions {
		var n int64
		if err := c.bind(no.query).each(func(row *scanner) { n = row.int() }); err != nil {
			return nil, fmt.Errorf("%s: %w", no.what, err)
		}
		if n > 0 {
			found = append(found, Finding{What: no.what, Rows: n})
		}
	}
	return found, nil
}
