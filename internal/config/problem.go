package config

import (
	"fmt"
	"slices"
	"strings"
)

// Place is where a value was written: in a file, or, with Line 0, in what Name
// says, such as an environment variable or a flag.
type Place struct {
	Name         string
	Line, Column int // from 1; columns count characters
}

// String is "ringback.yaml:3:5", or the name alone.
func (p Place) String() string {
	if p.Line == 0 {
		return p.Name
	}
	return fmt.Sprintf("%s:%d:%d", p.Name, p.Line, p.Column)
}

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	Place   Place
	Key     string // "operations.scan.timeout"; empty for none
	Message string
	Hint    string // what to do; empty where the message says it
}

func (p Problem) Error() string {
	text := p.Message
	if p.Key != "" {
		text = p.Key + ": " + text
	}
	if place := p.Place.String(); place != "" {
		text = place + ": " + text
	}
	return text
}

// Problems are all that is wrong with a configuration, in the order of the file.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

func (ps Problems) sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		if a.Place.Line != b.Place.Line {
			return a.Place.Line - b.Place.Line
		}
		return a.Place.Column - b.Place.Column
	})
}

// valueError says what is wrong with a value, and what to write instead.
type valueError struct{ message, hint string }

func (e *valueError) Error() string { return e.message }

func wrong(hint, format string, args ...any) error {
	return &valueError{message: fmt.Sprintf(format, args...), hint: hint}
}

// near finds the known word that a mistyped one most probably means, or "".
func near(word string, known []string) string {
	best, fewest := "", max(len(word)/3, 1)+1
	for _, candidate := range known {
		if d := distance(word, candidate); d < fewest {
			best, fewest = candidate, d
		}
	}
	return best
}

// distance is how many letters differ (Levenshtein), for words; beyond 64 bytes
// it is only a bound.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal, row[j+1] = row[j+1], min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// hintFor points from an unknown word to the ones that are known.
func hintFor(word string, known []string) string {
	if meant := near(strings.ToLower(word), known); meant != "" {
		return fmt.Sprintf("did you mean %s?", meant)
	}
	return "known here: " + strings.Join(known, ", ")
}
