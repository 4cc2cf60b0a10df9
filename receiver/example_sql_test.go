package receiver_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/http/httptest"
	"os"

	_ "github.com/ncruces/go-sqlite3/driver"

	"github.com/ringback/ringback/receiver"
	"github.com/ringback/ringback/receiver/receivertest"
	"github.com/ringback/ringback/sign"
)

// database is a Deduper: what a handler writes with the transaction of its context
// is there once, whatever crashes when. The row that is inserted first makes a
// concurrent duplicate wait, in PostgreSQL and MySQL too.
//
// CREATE TABLE callbacks (id TEXT PRIMARY KEY, answer BLOB)
type database struct{ *sql.DB }

type txKey struct{}

func (d database) Once(ctx context.Context, id string, handle func(context.Context) ([]byte, error)) ([]byte, error) {
	tx, err := d.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	inserted, err := tx.ExecContext(ctx, `INSERT INTO callbacks (id) VALUES (?) ON CONFLICT DO NOTHING`, id)
	if err != nil {
		return nil, err
	}
	var answer []byte
	if n, err := inserted.RowsAffected(); err != nil {
		return nil, err
	} else if n == 0 {
		err := tx.QueryRowContext(ctx, `SELECT answer FROM callbacks WHERE id = ?`, id).Scan(&answer)
		return answer, err
	}
	if answer, err = handle(context.WithValue(ctx, txKey{}, tx)); err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE callbacks SET answer = ? WHERE id = ?`, answer, id); err != nil {
		return nil, err
	}
	return answer, tx.Commit()
}

// The effect of a callback and the memory of it in one transaction.
func ExampleDeduper() {
	dir, err := os.MkdirTemp("", "shop")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	db, err := sql.Open("sqlite3", "file:"+dir+"/shop.db?_txlock=immediate")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TABLE callbacks (id TEXT PRIMARY KEY, answer BLOB); CREATE TABLE verdicts (job TEXT)`); err != nil {
		fmt.Println(err)
		return
	}
	secret := sign.NewSecret()
	callbacks, err := receiver.New(receiver.Options{Secrets: []sign.Secret{secret}, Deduper: database{db}})
	if err != nil {
		fmt.Println(err)
		return
	}
	handler := callbacks.Handler(func(ctx context.Context, m receiver.Message) error {
		callback, err := m.Envelope()
		if err != nil {
			return err
		}
		_, err = ctx.Value(txKey{}).(*sql.Tx).ExecContext(ctx, `INSERT INTO verdicts VALUES (?)`, callback.Data.Job.ID)
		return err
	})

	for range 3 { // three attempts, since two answers were lost
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, receivertest.Callback{ID: "cb_1"}.Request(secret))
		fmt.Println(answer.Code)
	}
	var verdicts int
	err = db.QueryRow(`SELECT count(*) FROM verdicts`).Scan(&verdicts)
	fmt.Println(verdicts, err)
	// Output:
	// 200
	// 200
	// 200
	// 1 <nil>
}
