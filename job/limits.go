package job

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"
)

// Limits are what an app may have and do at most. Of each, 0 is the gateway's default
// and Unlimited none.
type Limits struct {
	// Calls is how many requests there may be in each Per.
	Calls     int64         `json:"calls,omitempty"`
	Per       time.Duration `json:"per,omitempty"`
	Jobs      int64         `json:"jobs,omitempty"`  // that have not come to their end
	Bytes     int64         `json:"bytes,omitempty"` // of stored requests and results
	Endpoints int64         `json:"endpoints,omitempty"`
}

// Unlimited is the limit that is none.
const Unlimited = -1

// Or fills in what is 0 from the defaults.
func (l Limits) Or(d Limits) Limits {
	if l.Calls == 0 {
		l.Calls, l.Per = d.Calls, d.Per
	}
	for to, from := range map[*int64]int64{&l.Jobs: d.Jobs, &l.Bytes: d.Bytes, &l.Endpoints: d.Endpoints} {
		if *to == 0 {
			*to = from
		}
	}
	return l
}

// Usage is what an app has now, of what Limits bound.
type Usage struct {
	Jobs, Bytes, Endpoints int64
}

// Limiting keeps the limits of apps.
type Limiting interface {
	// SetAppLimits replaces the limits of an app, and announces it as changed.
	SetAppLimits(ctx context.Context, app string, l Limits) error
	// Usage counts what an app has. One that is not there has nothing.
	Usage(ctx context.Context, app string) (Usage, error)
}

// LimitError is what Accept returns where a limit is reached; it is ErrTooMany, too.
type LimitError struct {
	Bytes bool // the bytes; else the jobs
	Limit int64
}

func (e *LimitError) Error() string { return "the app's limit is reached" }

// Is makes it an ErrTooMany.
func (e *LimitError) Is(target error) bool { return target == ErrTooMany }

// ErrCalls is returned for a text that is no number of calls.
var ErrCalls = errors.New("write a number and a unit, such as 100/s, 6000/m, 1000/h or 10000/d, or none")

var callUnits = []struct {
	name string
	per  time.Duration
}{{"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}, {"d", 24 * time.Hour}}

// maxCalls bounds Limits.Calls.
const maxCalls = 1e9

// ParseCalls reads how many calls there may be, such as "100/s"; "none" is Unlimited.
func ParseCalls(text string) (calls int64, per time.Duration, err error) {
	if text == "none" {
		return Unlimited, 0, nil
	}
	number, unit, _ := strings.Cut(text, "/")
	calls, err = strconv.ParseInt(number, 10, 64)
	for _, known := range callUnits {
		if err == nil && unit == known.name && calls >= 1 && calls <= maxCalls {
			return calls, known.per, nil
		}
	}
	return 0, 0, ErrCalls
}

// CallsText writes the calls as ParseCalls reads them, empty for the default.
func (l Limits) CallsText() string {
	switch {
	case l.Calls == 0:
		return ""
	case l.Calls < 0:
		return "none"
	}
	for _, known := range callUnits {
		if l.Per == known.per {
			return strconv.FormatInt(l.Calls, 10) + "/" + known.name
		}
	}
	return strconv.FormatInt(l.Calls, 10) + "/" + l.Per.String()
}
