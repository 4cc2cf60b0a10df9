package outbound

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// urlRow is a line of testdata/urls.txt.
type urlRow struct {
	line             int
	expect, url, why string
	answers          map[string][][]netip.Addr // by "name TYPE", a list for each lookup
	aliases          map[string]string
}

var macro = regexp.MustCompile(`@(?:repeat:([^@]*)\*(\d+)|bytes:([0-9a-f]*))@`)

func expand(t testing.TB, s string) string {
	t.Helper()
	return macro.ReplaceAllStringFunc(s, func(m string) string {
		parts := macro.FindStringSubmatch(m)
		if parts[2] != "" {
			n, err := strconv.Atoi(parts[2])
			if err != nil {
				t.Fatal(err)
			}
			return strings.Repeat(parts[1], n)
		}
		octets, err := hex.DecodeString(parts[3])
		if err != nil {
			t.Fatal(err)
		}
		return string(octets)
	})
}

func readRows(t testing.TB) []urlRow {
	t.Helper()
	data, err := os.ReadFile("testdata/urls.txt")
	if err != nil {
		t.Fatal(err)
	}
	var rows []urlRow
	for i, line := range strings.Split(string(data), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		columns := strings.Split(line, "\t")
		row := urlRow{line: i + 1, expect: columns[0], url: expand(t, columns[1]), why: columns[2],
			answers: map[string][][]netip.Addr{}, aliases: map[string]string{}}
		if len(columns) > 3 {
			row.readAnswers(columns[3])
		}
		rows = append(rows, row)
	}
	if len(rows) < 200 {
		t.Fatalf("only %d rows", len(rows))
	}
	return rows
}

func (r *urlRow) readAnswers(column string) {
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

// fakeResolver answers with a row's answers, each lookup with the next ones.
type fakeResolver struct {
	row urlRow

	mu      sync.Mutex
	lookups int
}

func (f *fakeResolver) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := strings.TrimSuffix(strings.ToLower(host), ".")
	for f.row.aliases[name] != "" {
		name = f.row.aliases[name]
	}
	v4, has4 := f.row.answers[name+" A"]
	v6, has6 := f.row.answers[name+" AAAA"]
	if !has4 && !has6 {
		return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
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

// wire plays every receiver on loopback and notes what was dialled and asked.
type wire struct {
	receiver *receiver

	mu      sync.Mutex
	dialled []netip.AddrPort
	asked   []string // the target of each request line
	host    string   // whom the next certificate is for
}

func newWire(t *testing.T, ca *authority) *wire {
	t.Helper()
	w := &wire{}
	w.receiver = listen(t, func(c net.Conn, _ int) {
		in := bufio.NewReader(c)
		if first, err := in.Peek(1); err == nil && first[0] == 0x16 { // a TLS handshake
			secure := tls.Server(&peeked{c, in}, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				w.mu.Lock()
				defer w.mu.Unlock()
				return ca.issue(w.host, time.Now().Add(time.Hour))
			}})
			c, in = secure, bufio.NewReader(secure)
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		for {
			if field, err := in.ReadString('\n'); err != nil || field == "\r\n" {
				break
			}
		}
		w.mu.Lock()
		w.asked = append(w.asked, strings.Split(line, " ")[1])
		w.mu.Unlock()
		_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
	})
	return w
}

type peeked struct {
	net.Conn
	in io.Reader
}

func (p *peeked) Read(b []byte) (int, error) { return p.in.Read(b) }

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.dialled = append(w.dialled, addr)
	w.mu.Unlock()
	var d net.Dialer
	return d.DialContext(ctx, network, w.receiver.addr.String())
}

// expect forgets what was noted and names the host that is called next.
func (w *wire) expect(host string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dialled, w.asked, w.host = nil, nil, host
}

func (w *wire) noted() ([]netip.AddrPort, []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.dialled), slices.Clone(w.asked)
}

func TestEveryURLIsRefusedInvalidOrCalledAsListed(t *testing.T) {
	t.Parallel()
	runRows(t)
}

func TestProxyVariablesChangeNothing(t *testing.T) {
	proxy := listen(t, func(net.Conn, int) {})
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		t.Setenv(name, "http://"+proxy.addr.String())
	}
	t.Setenv("NO_PROXY", "")
	t.Setenv("no_proxy", "")
	runRows(t)
	if n := proxy.accepted(); n > 0 {
		t.Errorf("the proxy was called %d times", n)
	}
}

func runRows(t *testing.T) {
	t.Helper()
	ca := newAuthority(t)
	w := newWire(t, ca)
	for _, row := range readRows(t) {
		resolver := &fakeResolver{row: row}
		c := newClient(t, Policy{HTTP: true}, Limits{}, Options{Resolver: resolver, Dial: w.dial, RootCAs: ca.pool()})
		got, err := c.Check(row.url)
		switch row.expect {
		case "invalid":
			var urlError *URLError
			if !errors.As(err, &urlError) || urlError.Code != CodeInvalid || urlError.Rule == "" {
				t.Errorf("line %d (%s): %v, want %s", row.line, row.why, err, CodeInvalid)
			}
		case "refuse":
			if err == nil {
				wantRefused(t, c, w, row, got)
			}
		case "allow":
			if err != nil {
				t.Errorf("line %d (%s): %v", row.line, row.why, err)
				continue
			}
			wantCalled(t, c, w, row, got)
		default:
			t.Fatalf("line %d: unknown expectation %q", row.line, row.expect)
		}
	}
}

// attempts is more than any row has answers one after the other.
const attempts = 4

func wantRefused(t *testing.T, c *Client, w *wire, row urlRow, got *Target) {
	t.Helper()
	w.expect(got.host)
	var err error
	for range attempts {
		_, err = c.Do(context.Background(), &Request{Target: got, Timeout: testTimeout})
	}
	var e *Error
	var urlError *URLError
	if !errors.As(err, &e) || e.Class != ClassRefused || !errors.As(err, &urlError) || urlError.Code != CodeForbidden {
		t.Errorf("line %d (%s): %v, want it refused", row.line, row.why, err)
	}
	dialled, _ := w.noted()
	for _, addr := range dialled {
		earlier := strings.HasPrefix(row.why, "dns mixed") && addr.Addr() == netip.MustParseAddr("93.184.216.34")
		if !earlier {
			t.Errorf("line %d (%s): %s was dialled", row.line, row.why, addr)
		}
	}
}

func wantCalled(t *testing.T, c *Client, w *wire, row urlRow, got *Target) {
	t.Helper()
	w.expect(got.host)
	_, rest, _ := strings.Cut(row.url, "://")
	want := "/"
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		want = rest[i:]
		if want[0] == '?' {
			want = "/" + want
		}
	}
	for range attempts {
		answer, err := c.Do(context.Background(), &Request{Target: got, Timeout: testTimeout})
		if err != nil || answer.Status != 204 {
			t.Errorf("line %d (%s): %v (%v)", row.line, row.why, err, errors.Unwrap(err))
			return
		}
	}
	dialled, asked := w.noted()
	if len(dialled) != attempts || len(asked) != attempts {
		t.Errorf("line %d (%s): dialled %v, asked %q", row.line, row.why, dialled, asked)
	}
	for _, target := range asked {
		if target != want {
			t.Errorf("line %d (%s): asked for %q, want %q", row.line, row.why, target, want)
		}
	}
}

func FuzzCheck(f *testing.F) {
	for _, row := range readRows(f) {
		f.Add(row.url)
	}
	c := newClient(f, Policy{HTTP: true}, Limits{}, Options{})
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := c.Check(raw)
		if err != nil {
			var urlError *URLError
			if !errors.As(err, &urlError) || urlError.Code == "" || urlError.Rule == "" || urlError.Message == "" {
				t.Fatalf("%q: incomplete error %#v", raw, err)
			}
			return
		}
		if strings.ContainsAny(got.origin+got.requestURI, "\r\n \x00") || got.requestURI[0] != '/' {
			t.Fatalf("%q would be sent as %q to %q", raw, got.requestURI, got.origin)
		}
		again, err := c.Check(got.Origin() + got.requestURI)
		if len(got.Origin()+got.requestURI) <= MaxURLBytes && (err != nil || again.origin != got.origin || again.requestURI != got.requestURI) {
			t.Fatalf("%q: origin %q is not stable: %v", raw, got.origin, err)
		}
	})
}
