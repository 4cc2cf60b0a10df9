// Package hostile holds the callback URLs that must not hurt us, for the tests of
// those who read or call them. It is imported by tests only.
package hostile

import (
	"context"
	_ "embed"
	"encoding/hex"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

//go:embed urls.txt
var urls string

// URL is a row of urls.txt.
type URL struct {
	Line   int
	Expect string // "refuse", "invalid" or "allow"; the file's head says what each means
	URL    string
	Why    string

	answers map[string][][]netip.Addr // by "name TYPE", a list for each lookup
	aliases map[string]string
}

var macro = regexp.MustCompile(`@repeat:(.*?)\*(\d+)@|@bytes:([0-9a-f]*)@`)

// Expand writes out @repeat:S*N@ and @bytes:HEX@. It panics on a malformed one:
// the files are ours.
func Expand(s string) string {
	return macro.ReplaceAllStringFunc(s, func(found string) string {
		m := macro.FindStringSubmatch(found)
		if m[2] != "" {
			n, err := strconv.Atoi(m[2])
			if err != nil {
				panic(err)
			}
			return strings.Repeat(m[1], n)
		}
		octets, err := hex.DecodeString(m[3])
		if err != nil {
			panic(err)
		}
		return string(octets)
	})
}

// URLs reads all rows.
func URLs() []URL {
	var rows []URL
	for i, line := range strings.Split(urls, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		columns := strings.Split(line, "\t")
		row := URL{Line: i + 1, Expect: columns[0], URL: Expand(columns[1]), Why: columns[2],
			answers: map[string][][]netip.Addr{}, aliases: map[string]string{}}
		if len(columns) > 3 {
			row.readAnswers(columns[3])
		}
		rows = append(rows, row)
	}
	if len(rows) < 200 {
		panic(fmt.Sprintf("only %d rows", len(rows)))
	}
	return rows
}

func (r *URL) readAnswers(column string) {
	for answer := range strings.SplitSeq(column, " ; ") {
		name, rest, _ := strings.Cut(answer, " ")
		kind, values, _ := strings.Cut(rest, " ")
		if kind == "CNAME" {
			r.aliases[name] = values
			continue
		}
		for set := range strings.SplitSeq(values, " then ") {
			var addrs []netip.Addr
			for value := range strings.SplitSeq(set, ",") {
				addrs = append(addrs, netip.MustParseAddr(value))
			}
			r.answers[name+" "+kind] = append(r.answers[name+" "+kind], addrs)
		}
	}
}

// Public is the answer for every name that a row does not mention.
var Public = netip.MustParseAddr("93.184.216.34")

// Resolver answers with a row's answers, each lookup with the next ones.
type Resolver struct {
	row     URL
	mu      sync.Mutex
	lookups int
}

// Resolver makes a resolver for the row.
func (r URL) Resolver() *Resolver { return &Resolver{row: r} }

// LookupNetIP answers as the row says.
func (f *Resolver) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := strings.TrimSuffix(strings.ToLower(host), ".")
	for f.row.aliases[name] != "" {
		name = f.row.aliases[name]
	}
	v4, has4 := f.row.answers[name+" A"]
	v6, has6 := f.row.answers[name+" AAAA"]
	if !has4 && !has6 {
		return []netip.Addr{Public}, nil
	}
	var found []netip.Addr
	for _, sets := range [][][]netip.Addr{v4, v6} {
		if len(sets) > 0 {
			found = append(found, sets[min(f.lookups, len(sets)-1)]...)
		}
	}
	f.lookups++
	return found, nil
}
