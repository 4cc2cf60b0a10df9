package job

import (
	"bytes"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"sync"
	"time"
)

// ID is a UUIDv7 (RFC 9562 §5.7). Written out it carries the prefix of what it
// names: job_…, cb_… or key_… and 26 characters of Crockford's base32 in lower case.
// IDs sort by the time they were made, as bytes and as text.
type ID [16]byte

const (
	jobPrefix      = "job_"
	callbackPrefix = "cb_"
	auditPrefix    = "aud_"
	bulkPrefix     = "bulk_"
	keyPrefix      = "key_"
)

// crockford without padding: 26 characters hold 130 bits, the first two are zero.
var crockford = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// Job is the id as a job's: job_….
func (id ID) Job() string { return id.text(jobPrefix) }

// Callback is the id as a callback's: cb_….
func (id ID) Callback() string { return id.text(callbackPrefix) }

// Audit is the id as that of an entry of the audit log: aud_….
func (id ID) Audit() string { return id.text(auditPrefix) }

// Bulk is the id as that of a bulk.
func (id ID) Bulk() string { return id.text(bulkPrefix) }

// APIKey is the id as that of an API key: key_….
func (id ID) APIKey() string { return id.text(keyPrefix) }

// AppendJob appends the id as a job's to b.
func (id ID) AppendJob(b []byte) []byte { return id.append(b, jobPrefix) }

// AppendCallback appends the id as a callback's to b.
func (id ID) AppendCallback(b []byte) []byte { return id.append(b, callbackPrefix) }

// IsZero tells an id that was never set.
func (id ID) IsZero() bool { return id == ID{} }

// Time is when the id was made, to the millisecond.
func (id ID) Time() time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(id[:8]) >> 16))
}

// Compare orders ids by age: -1 where id is older than other.
func (id ID) Compare(other ID) int { return bytes.Compare(id[:], other[:]) }

func (id ID) text(prefix string) string {
	var buf [len(bulkPrefix) + 26]byte
	return string(id.append(buf[:0], prefix))
}

func (id ID) append(b []byte, prefix string) []byte {
	// 16 bytes are 128 bits; a leading zero pad of 2 bits makes 26 characters.
	var padded [17]byte
	for i, c := range id {
		padded[i] |= c >> 2
		padded[i+1] |= c << 6
	}
	b = append(b, prefix...)
	n := len(b)
	b = append(b, "00000000000000000000000000"...)
	var out [28]byte
	crockford.Encode(out[:], padded[:])
	copy(b[n:], out[:26])
	return b
}

// ParseJob reads an id written by ID.Job. ok is false for every other text.
func ParseJob(s string) (id ID, ok bool) { return parse(s, jobPrefix) }

// ParseCallback reads an id written by ID.Callback. ok is false for every other text.
func ParseCallback(s string) (id ID, ok bool) { return parse(s, callbackPrefix) }

// ParseBulk reads an id written by ID.Bulk. ok is false for every other text.
func ParseBulk(s string) (id ID, ok bool) { return parse(s, bulkPrefix) }

// ParseAPIKey reads an id written by ID.APIKey. ok is false for every other text.
func ParseAPIKey(s string) (id ID, ok bool) { return parse(s, keyPrefix) }

func parse(s, prefix string) (id ID, ok bool) {
	if len(s) != len(prefix)+26 || s[:len(prefix)] != prefix {
		return ID{}, false
	}
	var in [28]byte
	copy(in[:], s[len(prefix):])
	in[26], in[27] = '0', '0'
	var padded [17]byte
	if _, err := crockford.Decode(padded[:], in[:]); err != nil || padded[0] > 0x3f {
		return ID{}, false
	}
	for i := range id {
		id[i] = padded[i]<<2 | padded[i+1]>>6
	}
	// One text per id: the last character's spare bits must be zero.
	if id.text(prefix) != s {
		return ID{}, false
	}
	return id, id[6]>>4 == 7 && id[8]>>6 == 2
}

// IDs makes ids that only grow, also within a millisecond and when the clock
// jumps back. Its zero value is usable; it is safe for concurrent use.
//
// A made id's first 63 bits that are not version or variant (see ID.Key) differ
// from those of every other id of the same IDs, so a store may use them as key.
type IDs struct {
	mu   sync.Mutex
	last uint64 // milliseconds<<15 | counter
	rand [512]byte
	used int
}

const counterBits = 15

// Observe makes the ids to come greater than id. A store calls it with its
// newest one, so that a clock set back between two starts repeats none.
func (g *IDs) Observe(id ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = max(g.last, id.Key())
}

// New makes an id for the time now.
func (g *IDs) New(now time.Time) ID {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := uint64(max(now.UnixMilli(), 0)) << counterBits
	if key <= g.last {
		key = g.last + 1
	}
	g.last = key
	if g.used == 0 || g.used+8 > len(g.rand) {
		rand.Read(g.rand[:]) // never fails: crypto/rand ends the program instead
		g.used = 0
	}
	tail := binary.BigEndian.Uint64(g.rand[g.used:])
	g.used += 8
	return makeID(key, tail)
}

// makeID lays out 48 bits of time, 15 of counter and 59 random ones round the
// version and the variant.
func makeID(key, tail uint64) ID {
	ms, counter := key>>counterBits, key&(1<<counterBits-1)
	var id ID
	binary.BigEndian.PutUint64(id[:8], ms<<16|0x7000|counter>>3)
	binary.BigEndian.PutUint64(id[8:], 0x2<<62|(counter&7)<<59|tail&(1<<59-1))
	return id
}

// Key is the id's first 63 bits but for version and variant: time and counter.
// It fits a signed 64-bit integer and orders as the id does.
func (id ID) Key() uint64 {
	hi, lo := binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])
	return hi>>16<<counterBits | (hi&0xfff)<<3 | lo>>59&7
}
