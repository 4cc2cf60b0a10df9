package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"
)

// storm keeps the load up for as long as planned, and kills the gateway now and then. What
// the gateway takes of memory is looked at all the time.
func (h *harness) storm(ctx context.Context) error {
	end := time.Now().Add(h.chaos)
	for time.Now().Before(end) {
		next := time.Now().Add(time.Duration(3000+h.random.IntN(9000)) * time.Millisecond)
		for time.Now().Before(next) && time.Now().Before(end) {
			if err := h.gateway.run(ctx, 250*time.Millisecond); err != nil {
				return err
			}
			h.report.PeakRSS = max(h.report.PeakRSS, residentBytes(h.gateway.cmd.Process.Pid))
		}
		h.moments = append(h.moments, h.gateway.kill())
		h.report.Kills++
		if err := h.gateway.start(); err != nil {
			return err
		}
	}
	if h.report.PeakRSS > h.maxRSS {
		h.report.violate("the gateway took %d MiB of memory, and may take %d", h.report.PeakRSS>>20, h.maxRSS>>20)
	}
	return nil
}

// residentBytes is what a process has in memory; 0 where the system does not say.
func residentBytes(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(status, []byte("VmRSS:"))
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.ParseInt(string(fields[0]), 10, 64)
	return kib << 10
}

// judgeOrder compares when the messages of the ordered endpoint came with their numbers:
// none may have begun before the one before it was taken.
func (r *report) judgeOrder(messages map[string]*message) {
	var line []*message
	for _, m := range messages {
		if m.sequence > 0 {
			line = append(line, m)
		}
	}
	slices.SortFunc(line, func(a, b *message) int { return a.sequence - b.sequence })
	r.Ordered = len(line)
	for i, m := range line {
		if i == 0 {
			continue
		}
		before := line[i-1]
		switch taken := before.taken(); {
		case m.sequence == before.sequence:
			r.violate("the jobs %s and %s have the same number %d", before.job, m.job, m.sequence)
		case taken.IsZero() || m.begun().Before(taken):
			r.violate("the callback with the number %d came before number %d was taken", m.sequence, before.sequence)
		}
	}
}

// begun is when a message came for the first time.
func (m *message) begun() time.Time {
	return slices.MinFunc(m.receipts, func(a, b receipt) int { return a.began.Compare(b.began) }).began
}

// taken is when it was taken for the first time; zero: never.
func (m *message) taken() (at time.Time) {
	for _, r := range m.receipts {
		if r.taken && (at.IsZero() || r.began.Before(at)) {
			at = r.began
		}
	}
	return at
}
