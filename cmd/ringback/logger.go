package main

import (
	"log/slog"

	"github.com/lmittmann/tint"

	"github.com/ringback/ringback/internal/config"
)

// logger writes to standard error: for people where that is a terminal, else as
// JSON, unless the configuration says which.
func (t *term) logger(o config.Log) *slog.Logger {
	switch {
	case o.Format == "json" || o.Format == "" && !t.errTTY:
		return slog.New(slog.NewJSONHandler(t.err, &slog.HandlerOptions{Level: o.Level}))
	case o.Format == "text" && !t.errTTY:
		return slog.New(slog.NewTextHandler(t.err, &slog.HandlerOptions{Level: o.Level}))
	}
	return slog.New(tint.NewTextHandler(t.err, &tint.Options{Level: o.Level, NoColor: t.noColour, TimeFormat: "15:04:05.000"}))
}
