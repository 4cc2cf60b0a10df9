package dashboard

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/ringback/ringback/client"
)

// choice is one of several links of which one is chosen.
type choice struct {
	Name, Link string
	Chosen     bool
}

// callbacks lists the app's callbacks, newest first.
func (s *Site) callbacks(_ http.ResponseWriter, r *http.Request, api caller) (name string, data any, err error) {
	chosen := url.Values{}
	for _, parameter := range []string{"status", "endpoint", "job", "cursor"} {
		if v := r.FormValue(parameter); v != "" {
			chosen.Set(parameter, v)
		}
	}
	var found client.Page[client.Callback]
	if err := api.get("/callbacks?"+chosen.Encode(), &found); err != nil {
		return "", nil, err
	}
	shown := struct {
		Callbacks []client.Callback
		Choices   []choice
		Older     string
	}{Callbacks: found.Data}
	link := func(parameter, value string) string {
		v := url.Values{}
		for _, name := range []string{"endpoint", "job", "status"} {
			if chosen.Has(name) {
				v.Set(name, chosen.Get(name))
			}
		}
		if v.Set(parameter, value); value == "" {
			v.Del(parameter)
		}
		return s.root + "/callbacks?" + v.Encode()
	}
	for _, status := range []string{"", client.CallbackPending, client.CallbackDelivered, client.CallbackDead, client.CallbackDiscarded} {
		label := status
		if label == "" {
			label = "all"
		}
		shown.Choices = append(shown.Choices, choice{Name: label, Link: link("status", status), Chosen: chosen.Get("status") == status})
	}
	if found.Next != nil {
		shown.Older = link("cursor", *found.Next)
	}
	return "callbacks", shown, nil
}

// at is a time as machines read it.
func at(t client.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// when is a time as people read it: how far it is from now where it is near, with the
// day where it is not.
func (s *Site) when(t client.Time) string {
	if t.IsZero() {
		return ""
	}
	d := t.Sub(s.opt.Now())
	text, past := "", d < 0
	switch d = d.Abs(); {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		text = fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		text = fmt.Sprintf("%d min", d/time.Minute)
	case d < 24*time.Hour:
		text = fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return t.UTC().Format("2 Jan 2006 15:04 UTC")
	}
	if past {
		return text + " ago"
	}
	return "in " + text
}

func milliseconds(ms float64) string {
	if ms == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f ms", ms)
}

// printable is a stranger's text as it is shown: what is invisible, or would change how
// the rest is read, stands there as its code.
func printable(v any) string {
	text := fmt.Sprint(v)
	var b strings.Builder
	for _, c := range text {
		switch {
		case c == '\n' || c == '\t' || c == ' ' || unicode.IsPrint(c):
			b.WriteRune(c)
		default:
			fmt.Fprintf(&b, "\\u{%x}", c)
		}
	}
	return b.String()
}
