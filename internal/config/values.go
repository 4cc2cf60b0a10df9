package config

import (
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringback/ringback/internal/outbound"
	"github.com/ringback/ringback/job"
)

// scalar is a value that is read from a text: in the file, in an environment
// variable or in a flag. Its error is a valueError where a hint helps.
type scalar interface{ parse(text string) error }

// orNever is a duration, or 0 for never, which is kept as less than 0.
type orNever duration

func (d *orNever) parse(text string) error {
	if text == "0" {
		*d = -1
		return nil
	}
	return (*duration)(d).parse(text)
}

// duration is Go's, with days: "90s", "1h30m", "7d". It is more than 0.
type duration time.Duration

const maxDuration = 100 * 365 * 24 * time.Hour

func (d *duration) parse(text string) error {
	const hint = "write a number and a unit, such as 500ms, 30s, 10m, 2h or 7d"
	var total time.Duration
	rest := text
	if days, tail, found := strings.Cut(text, "d"); found {
		n, err := strconv.ParseFloat(days, 64)
		// Written so that NaN is refused too.
		if err != nil || !(n >= 0 && n <= maxDuration.Hours()/24) {
			return wrong(hint, "%q is not a duration", text)
		}
		total, rest = time.Duration(n*float64(24*time.Hour)), tail
	}
	if rest != "" || text == "" {
		part, err := time.ParseDuration(rest)
		if err != nil {
			return wrong(hint, "%q is not a duration", text)
		}
		total += part
	}
	if total <= 0 || total > maxDuration {
		return wrong("leave it out for the default", "%q is not more than 0 and at most 100 years", text)
	}
	*d = duration(total)
	return nil
}

// size is a number of bytes: "512", "64KiB", "100MiB", "1GB".
type size int64

var sizeUnits = map[string]int64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	"kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}

func (s *size) parse(text string) error {
	number := strings.TrimRight(text, "BKMGTikb")
	unit, ok := sizeUnits[strings.TrimSpace(text[len(number):])]
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || !ok || n < 1 || n > math.MaxInt64/unit {
		return wrong("write a whole number and a unit, such as 64KiB, 100MiB or 2GiB", "%q is not a size", text)
	}
	*s = size(n * unit)
	return nil
}

// count is a whole number from 1.
type count int

func (c *count) parse(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 1e6 {
		return wrong("write a whole number from 1", "%q is not a number between 1 and 1000000", text)
	}
	*c = count(n)
	return nil
}

// confidential is a value that no message may show, and that "file:PATH" reads
// from a file of its own.
type confidential interface{ confidential() }

const minAdminKey = 16

type adminKey string

func (adminKey) confidential() {}

func (k *adminKey) parse(text string) error {
	printable := !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f })
	if len(text) < minAdminKey || len(text) > 512 || !printable {
		return wrong("make one with: openssl rand -base64 32", "must be %d to 512 characters of ASCII without blanks", minAdminKey)
	}
	*k = adminKey(text)
	return nil
}

// listenAddress is host:port, with an empty host for every address, or unix:PATH.
type listenAddress string

func (a *listenAddress) parse(text string) error {
	if path, ok := strings.CutPrefix(text, "unix:"); ok && path != "" && !strings.Contains(path, "\x00") {
		*a = listenAddress(text)
		return nil
	}
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return wrong("write host:port, such as 127.0.0.1:8080, or :8080 for every address, or unix:PATH", "%q is not an address to listen on", text)
	}
	*a = listenAddress(text)
	return nil
}

// storePath is the file in "sqlite:FILE".
type storePath string

func (p *storePath) parse(text string) error {
	const hint = "write sqlite:FILE, such as sqlite:ringback.db"
	if strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://") {
		return wrong(hint, "PostgreSQL is not in this version")
	}
	path, ok := strings.CutPrefix(text, "sqlite:")
	if !ok || path == "" || strings.Contains(path, "\x00") {
		return wrong(hint, "names no store")
	}
	*p = storePath(path)
	return nil
}

// bodyDir is the folder in "dir:FOLDER".
type bodyDir string

func (d *bodyDir) parse(text string) error {
	const hint = "write dir:FOLDER, such as dir:ringback-bodies"
	if strings.HasPrefix(text, "s3://") {
		return wrong(hint, "S3 is not in this version")
	}
	path, ok := strings.CutPrefix(text, "dir:")
	if !ok || path == "" || strings.Contains(path, "\x00") {
		return wrong(hint, "names no folder")
	}
	*d = bodyDir(path)
	return nil
}

// publicURL is what links are made of, without a slash at its end.
type publicURL string

func (p *publicURL) parse(text string) error {
	u, err := httpURL(text)
	if err != nil {
		return wrong("write what callers reach the gateway by, such as https://api.example.com", "%v", err)
	}
	*p = publicURL(strings.TrimRight(u.String(), "/"))
	return nil
}

// upstreamURL is an origin.
type upstreamURL struct{ *url.URL }

func (p *upstreamURL) parse(text string) error {
	const hint = "write scheme, host and port, such as http://127.0.0.1:9000"
	u, err := httpURL(text)
	if err != nil {
		return wrong(hint, "%v", err)
	}
	if strings.Trim(u.Path, "/") != "" {
		return wrong(hint, "must have no path: the paths are those of the calls")
	}
	p.URL = &url.URL{Scheme: u.Scheme, Host: u.Host}
	return nil
}

func httpURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("must be an http or https URL")
	case u.User != nil:
		return nil, fmt.Errorf("must have no user name")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#"):
		return nil, fmt.Errorf("must have no query and no fragment")
	}
	return u, nil
}

type prefix string

var prefixSyntax = regexp.MustCompile(`^(/[A-Za-z0-9._~-]*[A-Za-z0-9_~-])+$`)

func (p *prefix) parse(text string) error {
	if !prefixSyntax.MatchString(text) {
		return wrong("write a path such as /.ringback", "%q is not a path of letters, digits, '.', '_', '~' and '-' that begins with a slash and ends without one", text)
	}
	*p = prefix(text)
	return nil
}

// unless is a switch that is on unless it is turned off: true means off.
type unless bool

func (u *unless) parse(text string) error {
	if text != "true" && text != "false" {
		return wrong("write true or false", "%q is neither true nor false", text)
	}
	*u = text == "false"
	return nil
}

// allowed is an entry of outbound.allow.
type allowed string

func (a *allowed) parse(text string) error {
	if err := (outbound.Policy{Allow: []string{text}}).Validate(); err != nil {
		return wrong("write a prefix (10.20.0.0/16), an address or a host name, with :PORT for that port only", "%v", err)
	}
	*a = allowed(text)
	return nil
}

// oneOf reads one of a list of words.
func oneOf(text string, words ...string) error {
	if slices.Contains(words, text) {
		return nil
	}
	return wrong(hintFor(text, words), "%q is none of %s", text, strings.Join(words, ", "))
}

type logLevel slog.Level

func (l *logLevel) parse(text string) error {
	if err := oneOf(text, "debug", "info", "warn", "error"); err != nil {
		return err
	}
	return (*slog.Level)(l).UnmarshalText([]byte(text))
}

type logFormat string

func (f *logFormat) parse(text string) error {
	*f = logFormat(text)
	return oneOf(text, "text", "json")
}

// proof is what an endpoint has to show.
type proof job.Proof

func (p *proof) parse(text string) error {
	*p = proof(text)
	if text == "none" {
		*p = proof(job.ProofNone)
	}
	return oneOf(text, "none", string(job.ProofChallenge), string(job.ProofHandshake))
}

// runMode is true for at_most_once.
type runMode bool

func (m *runMode) parse(text string) error {
	*m = text == "at_most_once"
	return oneOf(text, "at_least_once", "at_most_once")
}

type method string

func (m *method) parse(text string) error {
	*m = method(text)
	return oneOf(text, job.Methods...)
}

// format is the name of a callback's format.
type format string

func (f *format) parse(text string) error {
	*f = format(text)
	return oneOf(text, job.Formats...)
}

type event job.Event

func (e *event) parse(text string) error {
	words := make([]string, len(job.AllEvents))
	for i, known := range job.AllEvents {
		words[i] = string(known)
	}
	*e = event(text)
	return oneOf(text, words...)
}

type callerMay string

func (c *callerMay) parse(text string) error {
	*c = callerMay(text)
	return oneOf(text, "url", "state", "events", "method", "format", "delay", "expires")
}

// port is the number of a port.
type port uint16

func (p *port) parse(text string) error {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return wrong("write a number such as 443", "%q is not a port", text)
	}
	*p = port(n)
	return nil
}
