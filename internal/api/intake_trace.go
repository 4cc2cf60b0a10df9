package api

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/ringback/ringback/job"
)

const (
	traceParentChars   = 55 // of version 00: 00-<32 hex>-<16 hex>-<2 hex>
	maxStateMembers    = 32
	maxTraceStateChars = 512
	longMemberChars    = 128
)

// readTrace reads the trace context of a request (W3C Trace Context level 2). What
// is invalid is dropped without an error; without a traceparent there is none.
func readTrace(h http.Header) job.Trace {
	values := h["Traceparent"]
	if len(values) != 1 {
		return job.Trace{}
	}
	parent, ok := parseTraceParent(values[0])
	if !ok {
		return job.Trace{}
	}
	trace := job.Trace{Parent: parent}
	if states := h["Tracestate"]; len(states) > 0 {
		trace.State = parseTraceState(strings.Join(states, ","))
	}
	return trace
}

// parseTraceParent returns a valid traceparent in the form of version 00.
func parseTraceParent(s string) (string, bool) {
	if len(s) < traceParentChars || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return "", false
	}
	version, traceID, parentID, flags := s[:2], s[3:35], s[36:52], s[53:55]
	if !isLowerHex(version) || !isLowerHex(traceID) || !isLowerHex(parentID) || !isLowerHex(flags) {
		return "", false
	}
	if version == "ff" || strings.Trim(traceID, "0") == "" || strings.Trim(parentID, "0") == "" {
		return "", false
	}
	switch {
	case len(s) == traceParentChars && version == "00":
		return s, true
	case version == "00" || len(s) > traceParentChars && s[traceParentChars] != '-':
		return "", false
	}
	// Of a later version's flags only those of version 00 are understood: sampled
	// and random.
	known := strings.IndexByte("0123456789abcdef", flags[1]) & 3
	return "00" + s[2:53] + "0" + strconv.Itoa(known), true
}

func isLowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// parseTraceState returns a valid tracestate, shortened to maxTraceStateChars, or
// nothing.
func parseTraceState(s string) string {
	var members []string
	for member := range strings.SplitSeq(s, ",") {
		member = strings.Trim(member, " \t")
		if member == "" {
			continue
		}
		if len(members) == maxStateMembers || !isStateMember(member) {
			return ""
		}
		members = append(members, member)
	}
	total := len(members) - 1
	for _, m := range members {
		total += len(m)
	}
	// Long members go first, then those on the right: they are the oldest.
	for i := len(members) - 1; i >= 0 && total > maxTraceStateChars; i-- {
		if len(members[i]) > longMemberChars {
			total -= len(members[i]) + 1
			members = append(members[:i], members[i+1:]...)
		}
	}
	for total > maxTraceStateChars {
		last := len(members) - 1
		total -= len(members[last]) + 1
		members = members[:last]
	}
	return strings.Join(members, ",")
}

func isStateMember(member string) bool {
	key, value, ok := strings.Cut(member, "=")
	if !ok || key == "" || len(key) > 256 || value == "" || len(value) > 256 {
		return false
	}
	for i := range len(key) {
		c := key[i]
		alphanumeric := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !alphanumeric && (i == 0 || strings.IndexByte("_-*/@", c) < 0) {
			return false
		}
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' || c > '~' || c == '=' {
			return false
		}
	}
	return true
}
