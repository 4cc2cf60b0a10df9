package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// settings are what the command line says.
type settings struct {
	only   []string
	rounds int
	during time.Duration
	quick  bool
}

// session is one run of the benchmarks.
type session struct {
	settings
	ctx     context.Context
	tmp     string // everything is in it, and goes with it
	binary  string
	log     io.Writer
	results *results
}

// measurement is a part of a session that can be run by itself.
type measurement struct {
	name string
	run  func(*session) error
}

var measurements = []measurement{
	{"relay", (*session).measureRelay},
	{"http", (*session).measureHTTP},
	{"slow", (*session).measureSlow},
	{"paced", (*session).measurePaced},
	{"stores", (*session).measureStores},
	{"uploads", (*session).measureUploads},
	{"hostile", (*session).measureHostile},
	{"isolation", (*session).measureIsolation},
	{"destinations", (*session).measureDestinations},
	{"fairness", (*session).measureFairness},
	{"start", (*session).measureStart},
	{"profile", (*session).measureProfile},
	{"backends", (*session).measureBackends},
	{"sizes", (*session).measureSizes},
	{"connections", (*session).measureConnections},
	{"curve", (*session).measureCurve},
	{"overload", (*session).measureOverload},
}

// measure runs what is asked for. It leaves no file and no process behind.
func measure(ctx context.Context, set settings, tmpDir string, log io.Writer) (_ *results, err error) {
	s := &session{settings: set, ctx: ctx, log: log, results: newResults(set)}
	if s.tmp, err = os.MkdirTemp(tmpDir, "ringback-bench"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.tmp)) }()
	if s.results.Machine, err = describe(s.tmp); err != nil {
		return nil, err
	}
	if err := s.build(); err != nil {
		return nil, err
	}
	for _, m := range measurements {
		if len(set.only) > 0 && !slices.Contains(set.only, m.name) {
			continue
		}
		began := time.Now()
		if err := m.run(s); err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		s.say("%s took %s", m.name, time.Since(began).Round(time.Second))
	}
	return s.results, nil
}

func (s *session) say(format string, args ...any) { fmt.Fprintf(s.log, format+"\n", args...) }

// build makes the binary as make build does.
func (s *session) build() error {
	version := "unknown"
	if out, err := exec.CommandContext(s.ctx, "git", "describe", "--tags", "--always", "--dirty").Output(); err == nil {
		version = strings.TrimSpace(string(out))
	}
	s.binary = filepath.Join(s.tmp, "ringback")
	cmd := exec.CommandContext(s.ctx, "go", "build", "-trimpath", "-ldflags", "-X main.version="+version, "-o", s.binary, "./cmd/ringback")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build ringback: %w: %s", err, out)
	}
	info, err := os.Stat(s.binary)
	if err != nil {
		return err
	}
	s.results.Version = version
	s.results.add("binary", float64(info.Size())/mib)
	return nil
}

// length of a trial beside the table.
func (s *session) short() time.Duration { return min(s.during, 3*time.Second) }

// alternate runs the same load against limit and Ringback, in turn.
func (s *session) alternate(name string, t trial, each func(limit, ringback sample)) error {
	for range s.rounds {
		l, err := s.limit(t)
		if err != nil {
			return fmt.Errorf("limit: %w", err)
		}
		r, err := s.ringback(t)
		if err != nil {
			return fmt.Errorf("ringback: %w", err)
		}
		s.note(name, l, r)
		each(l, r)
	}
	return nil
}

// note keeps a round and shows it.
func (s *session) note(name string, base, ringback sample) {
	s.results.Rounds = append(s.results.Rounds, round{Name: name, Base: base, Ringback: ringback})
	s.say("%-20s base %6.0f/s %4.0fµs p50 %.2f p99 %.2f   ringback %6.0f/s %4.0fµs p50 %.2f p99 %.2f accept p99 %.2f ms, %.0f MiB, %.0f B/job, read %.1f ms, refused %d",
		name, base.PerSecond, base.CPU, base.P50, base.P99,
		ringback.PerSecond, ringback.CPU, ringback.P50, ringback.P99, ringback.AcceptP99, ringback.RSS, ringback.Written, ringback.Read, ringback.Refused)
}
