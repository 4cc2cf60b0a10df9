package main

import (
	"log/slog"

	"github.com/lmittmann/tint"

	"github.com/ringback/ringback/internal/config"
)

// harmless cleans what an entry quotes of somebody else, such as of a caller that made
// net/http complain: JSON and colours leave characters as they are that steer terminals.
func harmless(_ []string, a slog.Attr) slog.Attr {
	text := ""
	switch v := a.Value.Any().(type) {
	case string:
		text = v
	case error:
		text = v.Error()
	}
	if cleaned := clean(text); cleaned != text {
		a.Value = slog.StringValue(cleaned)
	}
	return a
}

// logger writes to standard error: for people where that is a terminal, else as
// JSON, unless the configuration says which.
func (t *term) logger(o config.Log) *slog.Logger {
	switch {
	case o.Format == "json" || o.Format == "" && !t.errTTY:
		return slog.New(slog.NewJSONHandler(t.err, &slog.HandlerOptions{Level: o.Level, ReplaceAttr: harmless}))
	case o.Format == "text" && !t.errTTY:
		return slog.New(slog.NewTextHandler(t.err, &slog.HandlerOptions{Level: o.Level, ReplaceAttr: harmless}))
	}
	return slog.New(tint.NewTextHandler(t.err, &tint.Options{Level: o.Level, NoColor: t.noColour, TimeFormat: "15:04:05.000", ReplaceAttr: harmless}))
}
