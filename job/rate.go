package job

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// Rate is how many callbacks may begin in a time. The zero Rate is no bound.
type Rate struct {
	Count int
	Per   time.Duration // a second, a minute or an hour
}

// MaxRateCount bounds Rate.Count.
const MaxRateCount = 1_000_000

var ratePers = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}

// ErrRate says how a rate is written.
var ErrRate = errors.New(`a rate is a number from 1 to 1000000 and s, m or h: "50/s", "100/m", "1000/h"`)

// ParseRate reads a rate such as "50/s"; an empty one is none. Its error is ErrRate.
func ParseRate(text string) (Rate, error) {
	if text == "" {
		return Rate{}, nil
	}
	count, per, _ := strings.Cut(text, "/")
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > MaxRateCount || ratePers[per] == 0 || strconv.Itoa(n) != count {
		return Rate{}, ErrRate
	}
	return Rate{n, ratePers[per]}, nil
}

// String writes the rate as ParseRate reads it.
func (r Rate) String() string {
	for unit, per := range ratePers {
		if r.Count > 0 && r.Per == per {
			return strconv.Itoa(r.Count) + "/" + unit
		}
	}
	return ""
}
