package client_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/ringback/ringback/client"
)

// first asks for a list's first member.
func first[T any](list func(func(T, error) bool)) (err error) {
	list(func(_ T, e error) bool {
		err = e
		return false
	})
	return err
}

func TestAnswersOfAnotherAPIAreNoSuccess(t *testing.T) {
	t.Parallel()
	questions := map[string]func(*client.Client) error{
		"job":      func(c *client.Client) error { _, err := c.Job(t.Context(), "j"); return err },
		"jobs":     func(c *client.Client) error { return first(c.Jobs(t.Context(), client.JobQuery{})) },
		"wait":     func(c *client.Client) error { _, err := c.WaitJob(t.Context(), "j"); return err },
		"result":   func(c *client.Client) error { _, err := c.Result(t.Context(), "j"); return err },
		"events":   func(c *client.Client) error { return first(c.Events(t.Context(), "j")) },
		"cancel":   func(c *client.Client) error { return c.Cancel(t.Context(), "j") },
		"call":     func(c *client.Client) error { _, err := c.Call(t.Context(), client.Call{Path: "/scan"}); return err },
		"callback": func(c *client.Client) error { _, err := c.Callback(t.Context(), "c"); return err },
		"resend":   func(c *client.Client) error { _, err := c.Resend(t.Context(), "c"); return err },
		"attempts": func(c *client.Client) error { return first(c.Attempts(t.Context(), "c")) },
		"endpoint": func(c *client.Client) error { _, err := c.Endpoint(t.Context(), "e"); return err },
		"delete":   func(c *client.Client) error { return c.DeleteEndpoint(t.Context(), "e") },
		"secret":   func(c *client.Client) error { _, err := c.Secret(t.Context(), "e"); return err },
		"app":      func(c *client.Client) error { _, err := c.CreateApp(t.Context(), "a"); return err },
		"apps":     func(c *client.Client) error { return first(c.Apps(t.Context())) },
	}
	for _, status := range []int{200, 201, 202} {
		for _, body := range []string{`{"ok":true}`, `{"data":null}`, `{"data":[{"title":"a book"}]}`, `[]`, `{"data":"x","id":7}`, `null`} {
			c := setup(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, status, "application/json", body) })
			for name, ask := range questions {
				if status != 200 && name == "events" { // no stream at all
					continue
				}
				if err := ask(c); !errors.Is(err, client.ErrForeign) {
					t.Errorf("%s: %d %s: error %v", name, status, body, err)
				}
			}
		}
	}
}

func TestPageInsteadOfJSONIsNoSuccess(t *testing.T) {
	t.Parallel()
	c := setup(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, "text/html", "<h1>Hello</h1>") })
	if _, err := c.Secret(t.Context(), ""); !errors.Is(err, client.ErrForeign) {
		t.Errorf("secret: error %v", err)
	}
	if _, err := c.Call(t.Context(), client.Call{Path: "/"}); !errors.Is(err, client.ErrForeign) {
		t.Errorf("call: error %v", err)
	}
	events := setup(t, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, "text/event-stream", "data: {\"price\":7}\n\n")
	})
	if err := first(events.Events(t.Context(), "j")); !errors.Is(err, client.ErrForeign) {
		t.Errorf("events: error %v", err)
	}
}
