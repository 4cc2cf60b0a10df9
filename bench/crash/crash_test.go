package main

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The runs are not parallel: each wants the machine for itself, so that kills come
// into the middle of work.

// carryOut runs a plan on a seed by chance, which a failure names.
func carryOut(t *testing.T, p plan) *report {
	t.Helper()
	p.seed, p.dir, p.maxCalls = rand.Uint64()%1_000_000, t.TempDir(), 50_000
	p.commit = time.Second // the disk may be shared with other tests
	r, err := run(t.Context(), p)
	if err != nil {
		t.Fatalf("seed %d: %v", p.seed, err)
	}
	if len(r.Violations) > 0 || r.Lost > 0 || r.Duplicates.Unexplained > 0 || r.Once.Twice > 0 {
		t.Errorf("%s", r)
	}
	if r.Delivered != r.Acknowledged {
		t.Errorf("%d of %d acknowledged jobs were delivered", r.Delivered, r.Acknowledged)
	}
	if r.Acknowledged < 200 || r.Large == 0 || r.Once.Jobs == 0 || r.Retried == 0 {
		t.Errorf("the load was no mixture worth a verdict:\n%s", r)
	}
	return r
}

func TestNothingIsLostOverTwentyKills(t *testing.T) {
	if r := carryOut(t, plan{kills: 20}); r.Kills != 20 || r.Unanswered == 0 {
		t.Errorf("%s", r)
	}
}

func TestOrderlyRestartsUnderLoadLoseNothingAndDeliverOnce(t *testing.T) {
	r := carryOut(t, plan{restarts: 5})
	if r.Restarts != 5 || r.Unanswered == 0 || r.Duplicates != (duplicates{}) || r.Once.Interrupted > 0 {
		t.Errorf("%s", r)
	}
}

func TestNothingIsLostAmongFaults(t *testing.T) {
	r := carryOut(t, plan{chaos: 45 * time.Second, rate: 200, maxRSS: 256 << 20})
	f := r.Faults
	if r.Kills < 3 || r.Ordered < 100 || f.Resets == 0 || f.BlackHoles == 0 || f.Slow == 0 || f.Lost == 0 || f.Partial == 0 {
		t.Errorf("the faults were no mixture worth a verdict:\n%s", r)
	}
	t.Logf("%s", r)
}

func TestOrderVerdict(t *testing.T) {
	t.Parallel()
	at := func(n int, taken bool) receipt { return receipt{began: time.Unix(int64(n), 0), taken: taken} }
	for name, tc := range map[string]struct {
		first, second []receipt
		violations    int
	}{
		"one after the other":              {[]receipt{at(1, true)}, []receipt{at(2, true)}, 0},
		"after a refusal and its retry":    {[]receipt{at(1, false), at(3, true)}, []receipt{at(4, true)}, 0},
		"the first came twice":             {[]receipt{at(1, true), at(3, true)}, []receipt{at(2, true)}, 0},
		"before the first was taken":       {[]receipt{at(1, false), at(3, true)}, []receipt{at(2, true)}, 1},
		"though the first was never taken": {[]receipt{at(1, false)}, []receipt{at(2, true)}, 1},
	} {
		r := report{}
		r.judgeOrder(map[string]*message{"a": {sequence: 1, receipts: tc.first}, "b": {sequence: 2, receipts: tc.second}})
		if len(r.Violations) != tc.violations || r.Ordered != 2 {
			t.Errorf("%s: %q", name, r.Violations)
		}
	}
}

func TestAGatewayKilledInItsFirstStartStartsAgain(t *testing.T) {
	built, err := newGateway(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	config := built.path("ringback.yaml")
	for i := range 15 {
		g := &gateway{binary: built.binary, config: config, dir: t.TempDir(), address: built.address}
		if err := g.start(); err != nil {
			t.Fatal(err)
		}
		err := g.run(t.Context(), time.Duration(i)*2*time.Millisecond)
		g.kill()
		if err != nil {
			t.Fatal(err)
		}
		if err := g.start(); err != nil {
			t.Fatal(err)
		}
		h := &harness{gateway: g, receiver: &receiver{url: "http://127.0.0.1:1"}}
		if h.load, err = newLoad(0, 0, g.url(), ""); err == nil {
			err = h.prepare(t.Context())
		}
		if err == nil {
			err = g.stop()
		}
		g.kill()
		if err != nil {
			t.Fatalf("killed after %d ms: %v", 2*i, err)
		}
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	start := time.Unix(1_000_000, 0)
	ms := func(n int) time.Time { return start.Add(time.Duration(n) * time.Millisecond) }
	exchange := func(began, ended int, taken bool) receipt {
		return receipt{began: ms(began), ended: ms(ended), taken: taken}
	}
	relay, once := numberOf(t, pathRelay), numberOf(t, pathOnce)
	kills := []moment{{ms(1000), ms(1010)}}
	for name, tc := range map[string]struct {
		messages map[string]*message
		runs     string
		violates string // empty: nothing
		want     report
	}{
		"delivered once": {
			messages: map[string]*message{"cb_1": {number: relay, job: "a", receipts: []receipt{exchange(10, 20, true)}}},
			want:     report{Delivered: 1},
		},
		"never delivered": {violates: "is lost", want: report{Lost: 1}},
		"refused only": {
			messages: map[string]*message{"cb_1": {number: relay, job: "a", receipts: []receipt{exchange(10, 20, false)}}},
			violates: "is lost", want: report{Lost: 1},
		},
		"again after a refusal": {
			messages: map[string]*message{"cb_1": {number: relay, job: "a", receipts: []receipt{exchange(300, 310, true), exchange(10, 20, false)}}},
			want:     report{Delivered: 1, Retried: 1},
		},
		"again after a kill in flight": {
			messages: map[string]*message{"cb_1": {number: relay, job: "a", receipts: []receipt{exchange(990, 1020, true), exchange(1100, 1110, true)}}},
			want:     report{Delivered: 1, Duplicates: duplicates{InFlight: 1}},
		},
		"again after a kill before the commit": {
			messages: map[string]*message{"cb_1": {number: relay, job: "a", receipts: []receipt{exchange(980, 990, true), exchange(1100, 1110, true)}}},
			want:     report{Delivered: 1, Duplicates: duplicates{Uncommitted: 1, LongestMilliseconds: 10}},
		},
		"again long before the kill": {
			messages: map[string]*message{"cb_1": {number: relay, job: "a", receipts: []receipt{exchange(980, 985, true), exchange(990, 995, true)}}},
			violates: "no kill explains it", want: report{Delivered: 1, Duplicates: duplicates{Unexplained: 1}},
		},
		"again though it was committed": {
			messages: map[string]*message{"cb_1": {number: relay, job: "a", receipts: []receipt{exchange(500, 510, true), exchange(1100, 1110, true)}}},
			violates: "no kill explains it", want: report{Delivered: 1, Duplicates: duplicates{Unexplained: 1}},
		},
		"two callbacks of a job": {
			messages: map[string]*message{"cb_1": {number: relay, job: "a", receipts: []receipt{exchange(10, 20, true)}},
				"cb_2": {number: relay, job: "a", receipts: []receipt{exchange(10, 20, true)}}},
			violates: "owed two callbacks", want: report{Delivered: 1},
		},
		"two jobs of a call": {
			messages: map[string]*message{"cb_1": {number: relay, job: "a", receipts: []receipt{exchange(10, 20, true)}},
				"cb_2": {number: relay, job: "b", receipts: []receipt{exchange(10, 20, true)}}},
			violates: "became two jobs", want: report{Delivered: 1},
		},
		"a failure that nobody caused": {
			messages: map[string]*message{"cb_1": {number: relay, job: "a", errorCode: "interrupted", receipts: []receipt{exchange(10, 20, true)}}},
			violates: "failed: interrupted", want: report{Delivered: 1},
		},
		"at most once, interrupted": {
			messages: map[string]*message{"cb_1": {number: once, job: "a", errorCode: "interrupted", receipts: []receipt{exchange(10, 20, true)}}},
			runs:     "a\n", want: report{Delivered: 1, Once: onceRuns{Jobs: 1, Runs: 1, Interrupted: 1}},
		},
		"at most once, twice": {
			messages: map[string]*message{"cb_1": {number: once, job: "a", receipts: []receipt{exchange(10, 20, true)}}},
			runs:     "a\na\n", violates: "ran twice", want: report{Delivered: 1, Once: onceRuns{Jobs: 1, Runs: 2, Twice: 1}},
		},
		"at most once, never": {
			messages: map[string]*message{"cb_1": {number: once, job: "a", receipts: []receipt{exchange(10, 20, true)}}},
			violates: "never ran", want: report{Delivered: 1, Once: onceRuns{Jobs: 1}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			number := relay
			for _, m := range tc.messages {
				number = m.number
			}
			got := report{}
			got.judge(evidence{acknowledged: map[int]string{number: "a"}, messages: tc.messages, kills: kills, commit: 250 * time.Millisecond})
			got.judgeOnce(0, tc.runs, tc.messages)
			violations := strings.Join(got.Violations, "\n")
			if !strings.Contains(violations, tc.violates) || (tc.violates == "") != (violations == "") {
				t.Errorf("violations %q, want %q", violations, tc.violates)
			}
			if got.Delivered != tc.want.Delivered || got.Lost != tc.want.Lost || got.Retried != tc.want.Retried || got.Duplicates != tc.want.Duplicates || got.Once != tc.want.Once {
				t.Errorf("%s", &got)
			}
		})
	}
}

// numberOf finds a call of a path, on seed 0.
func numberOf(t *testing.T, path string) int {
	t.Helper()
	for number := range 1000 {
		if callOf(0, number).path == path {
			return number
		}
	}
	t.Fatalf("no call of %s", path)
	return 0
}
