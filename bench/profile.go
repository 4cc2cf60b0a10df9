package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/store/sqlite"
)

// profileCommand is the argument that makes this program be a gateway whose CPU
// is profiled: the same code as the binary's, which has no profiler.
const profileCommand = "profile"

const profileFile = "cpu.prof"

// runProfiled runs a gateway in dir until it is told to end, and leaves the profile there.
func runProfiled(dir string) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	store, err := sqlite.Open(ctx, filepath.Join(dir, "ringback.db"), sqlite.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	gateway, err := ringback.New(ctx, store, ringback.Options{
		Operations: []ringback.Operation{{Operation: job.Operation{Name: "relay", Route: "POST /relay"}, Backend: ringback.Relay()}},
		BodyDir:    filepath.Join(dir, "bodies"), SealKey: make([]byte, 32), Dev: true, PublicURL: "http://127.0.0.1"})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: gateway.Handler()}
	go func() { _ = server.Serve(listener) }() // until Close
	defer func() { _ = server.Close() }()      // nobody waits for an answer any more
	profile, err := os.Create(filepath.Join(dir, profileFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, profile.Close()) }()
	if err := pprof.StartCPUProfile(profile); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	fmt.Println("http://" + listener.Addr().String())
	return gateway.Run(ctx)
}

// parts divide the profile: a sample belongs to the first whose function is on
// its stack.
var parts = []struct{ name, function string }{
	{"store: the sync", `unix\.Fdatasync`},
	{"store: SQLite", `store/sqlite\.\(\*writer\)`},
	{"store: the rest", `ringback/store/sqlite\.`},
	{"HTTP out", `ringback/internal/outbound\.`},
	{"signature", `ringback/sign\.`},
	{"the rest of callbacks: lanes, envelope, verdict", `ringback/internal/callback\.`},
	{"execution", `ringback/internal/executor\.`},
	{"intake: from the request to the store", `ringback/internal/api\.`},
	{"HTTP in", `net/http\.`},
	{"garbage collection, beside what the others did of it", `runtime\.gcBgMarkWorker`},
}

// share is a part of the CPU.
type share struct {
	Part   string  `json:"part"`
	Share  float64 `json:"share"`
	Micros float64 `json:"us_per_message"`
}

// measureProfile says where the microseconds of a message go.
func (s *session) measureProfile() error {
	dir, remove, err := s.folder()
	if err != nil {
		return err
	}
	defer remove()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b, err := newBench(1, delays{})
	if err != nil {
		return err
	}
	defer b.close()
	p := &process{cmd: exec.CommandContext(s.ctx, self, profileCommand, dir)}
	if p.base, err = p.start(listening.FindString); err != nil {
		return err
	}
	out, err := s.load(p, b, s.full("relay"))
	if err := errors.Join(err, p.stop()); err != nil {
		return err
	}
	s.results.Profile, err = s.divide(self, filepath.Join(dir, profileFile), out.CPU)
	return err
}

var accounted = regexp.MustCompile(`accounting for [^,]+, ([0-9.]+)% of`)

// divide cuts a profile into parts; perMessage is what all of it is, in microseconds.
func (s *session) divide(binary, profile string, perMessage float64) ([]share, error) {
	var out []share
	rest, before := 1.0, ""
	for _, part := range parts {
		args := []string{"tool", "pprof", "-top", "-nodefraction=0", "-focus=" + part.function}
		if before != "" {
			args = append(args, "-ignore="+before)
		}
		text, err := exec.CommandContext(s.ctx, "go", append(args, binary, profile)...).Output()
		if err != nil {
			return nil, fmt.Errorf("go tool pprof: %w", err)
		}
		percent := 0.0
		if found := accounted.FindSubmatch(text); found != nil {
			if percent, err = strconv.ParseFloat(string(found[1]), 64); err != nil {
				return nil, fmt.Errorf("go tool pprof: %w", err)
			}
		}
		out = append(out, share{Part: part.name, Share: percent / 100, Micros: percent / 100 * perMessage})
		rest -= percent / 100
		before = strings.TrimPrefix(before+"|"+part.function, "|")
	}
	return append(out, share{Part: "the rest of the runtime: scheduler, network poller", Share: rest, Micros: rest * perMessage}), nil
}

func profileMarkdown(shares []share) string {
	var b strings.Builder
	b.WriteString("| part | share of the CPU | µs a message |\n|---|---|---|\n")
	for _, s := range shares {
		fmt.Fprintf(&b, "| %s | %.0f %% | %.1f |\n", s.Part, 100*s.Share, s.Micros)
	}
	return b.String()
}
