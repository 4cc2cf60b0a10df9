package receiver_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringback/ringback/receiver"
)

// handled runs Once and tells whether the handler was called.
func handled(t *testing.T, d receiver.Deduper, id string) bool {
	t.Helper()
	called := false
	_, err := d.Once(t.Context(), id, func(context.Context) ([]byte, error) { called = true; return nil, nil })
	if err != nil {
		t.Fatal(err)
	}
	return called
}

func TestMemoryForgetsAfterTTL(t *testing.T) {
	t.Parallel()
	for ttl, d := range map[time.Duration]*receiver.Memory{
		receiver.DefaultTTL: {},
		time.Hour:           {TTL: time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			if !handled(t, d, "a") {
				t.Error("first: not called")
			}
			<-time.After(ttl - time.Second)
			if handled(t, d, "a") {
				t.Errorf("called again before %v", ttl)
			}
			<-time.After(time.Second)
			if !handled(t, d, "a") {
				t.Errorf("still remembered after %v", ttl)
			}
		})
	}
}

func TestMemoryForgetsTheOldestBeyondMaxIDs(t *testing.T) {
	t.Parallel()
	d := &receiver.Memory{MaxIDs: 3}
	for _, id := range []string{"a", "b", "c", "d"} {
		handled(t, d, id)
	}
	for _, id := range []string{"d", "c", "b"} {
		if handled(t, d, id) {
			t.Errorf("%s is forgotten, though within the limit", id)
		}
	}
	if !handled(t, d, "a") {
		t.Error("the oldest is still remembered: the memory is not bounded")
	}
}

func TestMemoryForgetsTheOldestBeyondItsBytes(t *testing.T) {
	t.Parallel()
	d := &receiver.Memory{}
	large := make([]byte, 12<<20)
	for i := range 3 {
		_, err := d.Once(t.Context(), fmt.Sprint(i), func(context.Context) ([]byte, error) { return large, nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	if handled(t, d, "2") || handled(t, d, "1") {
		t.Error("the younger answers are forgotten, though within the limit")
	}
	if !handled(t, d, "0") {
		t.Error("36 MiB of answers are kept: the memory is not bounded")
	}
}

func TestMemoryHandlesEachIDOnceUnderContention(t *testing.T) {
	t.Parallel()
	d := &receiver.Memory{}
	const ids, deliveries = 20, 8
	var calls, running [ids]atomic.Int32
	var all sync.WaitGroup
	for range deliveries {
		for i := range ids {
			all.Go(func() {
				for {
					answer, err := d.Once(context.Background(), fmt.Sprint(i), func(context.Context) ([]byte, error) {
						if running[i].Add(1) != 1 {
							t.Errorf("id %d is handled twice at the same time", i)
						}
						defer running[i].Add(-1)
						// Every other first try fails and is repeated.
						if calls[i].Add(1) == 1 && i%2 == 0 {
							return nil, errors.New("again")
						}
						return []byte{byte(i)}, nil
					})
					if err == nil {
						if len(answer) != 1 || int(answer[0]) != i {
							t.Errorf("id %d is answered with %v", i, answer)
						}
						return
					}
				}
			})
		}
	}
	all.Wait()
	for i := range ids {
		if got, want := calls[i].Load(), int32(2-i%2); got != want {
			t.Errorf("id %d: %d calls, want %d", i, got, want)
		}
	}
}

func TestDatabaseHandlesEachIDOnce(t *testing.T) {
	t.Parallel()
	db, err := sql.Open("sqlite3", "file:"+t.TempDir()+"/shop.db?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TABLE callbacks (id TEXT PRIMARY KEY, answer BLOB)`); err != nil {
		t.Fatal(err)
	}
	failure := errors.New("the first try fails")
	var calls atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			answer, err := database{db}.Once(t.Context(), "cb_1", func(context.Context) ([]byte, error) {
				if calls.Add(1) == 1 {
					return nil, failure
				}
				return []byte("yes"), nil
			})
			if !errors.Is(err, failure) && (err != nil || string(answer) != "yes") {
				t.Errorf("answer %q, %v", answer, err)
			}
		})
	}
	all.Wait()
	if n := calls.Load(); n != 2 {
		t.Errorf("%d calls, want 2: the one that failed, and another", n)
	}
}
