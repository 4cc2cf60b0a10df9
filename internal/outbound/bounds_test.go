package outbound

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestHugeChainOfCertificatesEndsTheHandshake(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	for name, size := range map[string]int{"many": 200, "usual": 4} {
		config := serverConfig(t, ca, "127.0.0.1", time.Now().Add(time.Hour))
		for range size {
			padding, err := ca.issue("padding.example", time.Now().Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			config.Certificates[0].Certificate = append(config.Certificates[0].Certificate, padding.Certificate[0])
		}
		r, octets := listenTLS(t, config, answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
		c := tlsClient(t, ca.pool(), Limits{})
		if name == "usual" {
			mustPost(t, c, r.url)
			continue
		}
		_, err := post(t, c, r.url, testTimeout)
		if e := wantClass(t, err, ClassTLSFailed); !strings.Contains(e.Detail, "more TLS") || octets.Load() > 0 {
			t.Errorf("%v, %d octets sent", e.Detail, octets.Load())
		}
	}
}

func TestSessionsWithLongTicketsAreNotKept(t *testing.T) {
	t.Parallel()
	cache := newSessions(4)
	for size, want := range map[int]bool{200: true, maxTicketBytes: true, maxTicketBytes + 1: false, 60 << 10: false} {
		session, err := tls.NewResumptionState(make([]byte, size), &tls.SessionState{})
		if err != nil {
			t.Fatal(err)
		}
		cache.Put(fmt.Sprint(size), session)
		if _, kept := cache.Get(fmt.Sprint(size)); kept != want {
			t.Errorf("a ticket of %d octets: kept %v", size, kept)
		}
	}
}

func TestWhatIsKeptOfAHeaderIsBoundedInMemory(t *testing.T) {
	t.Parallel()
	var names strings.Builder
	for i := range 7000 {
		fmt.Fprintf(&names, "a%x:\n", i)
	}
	for name, test := range map[string]struct {
		fields string
		status int
	}{
		"many names":  {names.String(), 200},
		"many values": {strings.Repeat("a:b\n", 15000), 200},
		"many folds":  {"a: b\n" + strings.Repeat(" c\n", 20000), 200},
		"a long line": {"a: " + strings.Repeat("b", 60000) + "\n", 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := listen(t, once(t, "HTTP/1.1 200 OK\r\n"+test.fields+"Content-Type: text/x\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nok"))
			answer := mustPost(t, devClient(t, Limits{}), r.url)
			size := 0
			for name, values := range answer.Header {
				for _, value := range values {
					size += len(name) + len(value) + lineCost
				}
			}
			if answer.Status != 200 || string(answer.Body) != "ok" || answer.Header.Get("Content-Type") != "text/x" || answer.Header.Get("Retry-After") != "7" || size > maxKeptHeader+1024 {
				t.Errorf("%d of header kept, %q", size, answer.Body)
			}
		})
	}
}

func TestTheEndOfABodyIsFoundBehindALongHeader(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("Connection: x\r\n", 2000)
	for name, test := range map[string]struct {
		answer string
		class  Class // "" for a 200
	}{
		"length":                {many + "Content-Length: 2\r\n\r\nok", ""},
		"chunks":                {many + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", ""},
		"another length":        {"Content-Length: 2\r\n" + many + "Content-Length: 3\r\n\r\nok", ClassProtocol},
		"a length cut short":    {"Content-Length: " + strings.Repeat("0", 20000) + "2\r\n\r\nok", ClassProtocol},
		"the same length often": {strings.Repeat("Content-Length: 2\r\n", 100) + "\r\nok", ClassProtocol},
	} {
		r := listen(t, once(t, "HTTP/1.1 200 OK\r\n"+test.answer))
		answer, err := post(t, devClient(t, Limits{}), r.url, testTimeout)
		if test.class != "" {
			wantClass(t, err, test.class)
		} else if err != nil || string(answer.Body) != "ok" || answer.Truncated {
			t.Errorf("%s: %+v, %v", name, answer, err)
		}
	}
	for closes, want := range map[string]bool{"": true, "Connection: close\r\n": false} {
		r := listen(t, answering(t, "HTTP/1.1 200 OK\r\n"+many+closes+"Content-Length: 0\r\n\r\n"))
		c := devClient(t, Limits{})
		mustPost(t, c, r.url)
		if again := mustPost(t, c, r.url); again.Timing.Reused != want {
			t.Errorf("%q: reused %v", closes, again.Timing.Reused)
		}
	}
}

// stalls are what a receiver sends before it says no more, where an attempt costs most.
func stalls() (list []string) {
	var names strings.Builder
	for i := range 7000 {
		fmt.Fprintf(&names, "a%x:\n", i)
	}
	return []string{
		"",
		"HTTP/1.1 200 OK\r\n" + names.String(),
		"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 60000),
		"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("b", 16000),
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n" + strings.Repeat("b", 16000),
		strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 2000),
		stalledHandshake,
	}
}

// stalledHandshake is a record that begins a message of 64 KiB.
var stalledHandshake = "\x16\x03\x03\x3f\xff" + "\x02\x00\xff\xff" + strings.Repeat("x", 16<<10-5)

func TestAThousandHostileReceiversCostLittleMemory(t *testing.T) {
	kinds := stalls()
	for i := range kinds {
		// The dearest, a stalled handshake, takes 70 KiB, and 80 with the race detector.
		if grown := weigh(t, kinds[i:i+1], 200); grown > 200*128<<10 {
			t.Errorf("kind %d: an attempt takes %d KiB", i, grown/200>>10)
		}
	}
	grown := weigh(t, kinds, 1000)
	t.Logf("1000 attempts at receivers of all kinds: %d MiB", grown>>20)
	if grown > 64<<20 {
		t.Errorf("1000 attempts take %d MiB", grown>>20)
	}
}

// weigh holds n attempts in flight at receivers of these kinds, and returns the memory
// that they take.
func weigh(t *testing.T, kinds []string, n int) int64 {
	t.Helper()
	release := make(chan struct{})
	var held, attempts sync.WaitGroup
	held.Add(n)
	c := newClient(t, Policy{Loopback: true}, Limits{ConnectTimeout: time.Minute, TLSHandshakeTimeout: time.Minute}, Options{})
	targets := make([]*Target, len(kinds))
	for i, sends := range kinds {
		r := listen(t, func(c net.Conn, _ int) {
			_, err := io.WriteString(c, sends)
			held.Done()
			if err == nil {
				<-release
			}
		})
		if sends == stalledHandshake {
			r.url = strings.Replace(r.url, "http:", "https:", 1)
		}
		targets[i] = target(t, c, r.url)
	}
	before := heap()
	for i := range n {
		attempts.Go(func() {
			_, _ = c.Do(t.Context(), &Request{Target: targets[i%len(targets)], Method: http.MethodGet, Timeout: time.Minute})
		})
	}
	held.Wait()
	grown := heap() - before
	close(release)
	attempts.Wait()
	return grown
}

// heap is what is in use, after two collections: the first one only empties the pools.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
