package pause

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/ringback/ringback/job"
)

var noon = time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)

func at(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }

func TestWhatRestsIsWhatIsPausedNow(t *testing.T) {
	t.Parallel()
	endpoint, origin := job.Pause{ID: 1, App: "shop", Endpoint: "main", From: noon}, job.Pause{ID: 2, App: "shop", Origin: "https://my.server", From: noon}
	operation, all := job.Pause{ID: 3, Operation: "scan", From: noon}, job.Pause{ID: 4, From: noon}
	disabled := job.Pause{ID: 5, App: "shop", Endpoint: "main", Disabled: true, From: noon}
	const lanes = "shop main|shop https://my.server|bank main|scan"
	for _, tt := range []struct {
		name   string
		pauses []job.Pause
		rests  string // what of a lane of each kind and of the operation
	}{
		{"nothing", nil, "|||"},
		{"an endpoint", []job.Pause{endpoint}, "paused|||"},
		{"an origin", []job.Pause{origin}, "|paused||"},
		{"an operation", []job.Pause{operation}, "|||paused"},
		{"everything", []job.Pause{all}, "paused|paused|paused|paused"},
		{"a disabled endpoint", []job.Pause{disabled}, "disabled|||"},
		{"disabled goes before paused", []job.Pause{disabled, all, endpoint}, "disabled|paused|paused|paused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var s Set
			s.Load(tt.pauses)
			rests := func() string {
				var words []string
				for _, of := range strings.Split(lanes, "|") {
					switch {
					case of != "scan":
						words = append(words, s.Lane(of))
					case s.Operation(of):
						words = append(words, job.WaitingPaused)
					default:
						words = append(words, "")
					}
				}
				return strings.Join(words, "|")
			}
			if got := rests(); got != tt.rests {
				t.Errorf("rests %s, want %s", got, tt.rests)
			}
			for _, p := range tt.pauses {
				p.To = at(1)
				s.Committed(job.Change{Kind: job.PauseChanged, Pause: &p})
			}
			if got := rests(); got != "|||" {
				t.Errorf("after the end %s", got)
			}
			for _, p := range tt.pauses {
				s.Committed(job.Change{Kind: job.PauseForgotten, Pause: &p})
			}
			if s.any.Load() || len(s.pauses) > 0 {
				t.Errorf("left behind: %v", s.pauses)
			}
		})
	}
}

func TestTheTimeThatALaneHasRestedCountsOnce(t *testing.T) {
	t.Parallel()
	var s Set
	lane := func(from, to int) job.Pause {
		p := job.Pause{App: "shop", Endpoint: "main", From: at(from)}
		if to > 0 {
			p.To = at(to)
		}
		return p
	}
	all := []job.Pause{lane(10, 20), lane(15, 25), lane(40, 0), lane(12, 14),
		{From: at(30), To: at(32)}, {Operation: "scan", From: at(0), To: at(5)}, {App: "bank", Endpoint: "main", From: at(0)}}
	for i := range all {
		all[i].ID = int64(i + 1)
	}
	s.Load(all)
	for _, tt := range []struct{ from, to, want int }{
		{0, 5, 0}, {0, 60, 15 + 2 + 20}, {0, 18, 8}, {12, 22, 10}, {26, 35, 2}, {50, 60, 10}, {60, 50, 0}, {0, 100, 15 + 2 + 60},
	} {
		if got := s.LaneRested("shop main", at(tt.from), at(tt.to)); got != time.Duration(tt.want)*time.Minute {
			t.Errorf("from %d to %d it rested %v, want %d minutes", tt.from, tt.to, got, tt.want)
		}
	}
	if got := s.OperationRested("scan", at(0), at(60)); got != 7*time.Minute {
		t.Errorf("the operation rested %v", got)
	}
	if got := s.LaneRested("shop other", at(0), at(60)); got != 2*time.Minute {
		t.Errorf("another lane rested %v", got)
	}
}

func TestGaugesCountWhatLasts(t *testing.T) {
	t.Parallel()
	var s Set
	s.Load([]job.Pause{{ID: 1}, {ID: 2, Operation: "scan"}, {ID: 3, Operation: "report", To: at(1)}, {ID: 4, App: "a", Endpoint: "x"},
		{ID: 5, App: "a", Origin: "https://b"}, {ID: 6, App: "a", Endpoint: "x", Disabled: true}})
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(s.Gauges()...)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetGauge().GetValue()
		}
	}
	want := map[string]float64{"ringback_endpoints_disabled": 1, "ringback_paused destination": 2, "ringback_paused everything": 1, "ringback_paused operation": 1}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
