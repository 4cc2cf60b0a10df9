package client

import (
	"context"
	"iter"
	"net/url"
)

// Page is one page of a list, newest first.
type Page[T any] struct {
	Data []T     `json:"data" nullable:"false" doc:"The page's members."`
	Next *string `json:"next" doc:"The cursor of the page after it; null for the last."`
}

// pages walks a list from page to page, each asked for when it is needed. An
// error is the last thing that it yields.
func pages[T any](ctx context.Context, c *Client, path string, query url.Values) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			target := path
			if len(query) > 0 {
				target += "?" + query.Encode()
			}
			page, err := ask[Page[T]](ctx, c, "GET", target, nil)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, member := range page.Data {
				if !yield(member, nil) {
					return
				}
			}
			if page.Next == nil || *page.Next == "" {
				return
			}
			query.Set("cursor", *page.Next)
		}
	}
}
