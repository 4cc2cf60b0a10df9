package client

// Page is one page of a list, newest first.
type Page[T any] struct {
	Data []T     `json:"data" nullable:"false" doc:"The page's members."`
	Next *string `json:"next" doc:"The cursor of the page after it; null for the last."`
}
