package job

import "time"

// Contents is what a store holds, counted.
type Contents struct {
	Schema int   `json:"schema"` // the version of the store's schema
	Apps   int64 `json:"apps"`
	// Jobs and Callbacks are counted by their state's word.
	Jobs      map[string]int64 `json:"jobs"`
	Callbacks map[string]int64 `json:"callbacks"`
	// OldestUnfinished is when the oldest job or callback was made that has not
	// come to its end; zero where there is none.
	OldestUnfinished time.Time `json:"oldest_unfinished,omitzero"`
	// Bodies are those kept outside of their rows, and BodyBytes what they hold.
	Bodies    int64 `json:"bodies"`
	BodyBytes int64 `json:"body_bytes"`
}
