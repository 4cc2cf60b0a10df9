package callback

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
)

func run(t testing.TB, program string, input any) (contentType, body string, err error) {
	t.Helper()
	p, err := ParseTemplate(program)
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	ct, b, err := p.render(input, time.Now)
	return ct, string(b), err
}

func TestATemplateMakesABodyAndMaySayWhatItIs(t *testing.T) {
	t.Parallel()
	input := map[string]any{"result": map[string]any{"n": 7, "items": []any{map[string]any{"id": "a", "n": 2, "price": 1.5}, map[string]any{"id": "b", "n": 1, "price": 4}}}}
	for program, want := range map[string][2]string{
		`.result.n`:           {"application/json", "7"},
		`{n: .result.n}`:      {"application/json", `{"n":7}`},
		`"n is \(.result.n)"`: {"text/plain; charset=utf-8", "n is 7"},
		`"<n>\(.result.n)</n>", "application/xml"`:                 {"application/xml", "<n>7</n>"},
		`.result.items | map(.n * .price) | add`:                   {"application/json", "7"},
		`[.result.items[] | .id] | join("+")`:                      {"text/plain; charset=utf-8", "a+b"},
		`[1, null, "x", true, 2.5] | join(",")`:                    {"text/plain; charset=utf-8", "1,,x,true,2.5"},
		`.result | del(.items) | with_entries(.value |= . )`:       {"", "a template cannot assign"},
		`.result | del(.items) | to_entries`:                       {"application/json", `[{"key":"n","value":7}]`},
		`def twice(f): f, f; [twice(.result.n)] | @csv`:            {"text/plain; charset=utf-8", "7,7"},
		`reduce .result.items[] as {n: $n} (0; . + $n)`:            {"application/json", "3"},
		`.result.items | group_by(.n) | map(length)`:               {"application/json", "[1,1]"},
		`"a-b" | gsub("-"; "+") | ascii_upcase`:                    {"text/plain; charset=utf-8", "A+B"},
		`first(range(10;20)) , "text/x-number"`:                    {"text/x-number", "10"},
		`[5 - 3 - 1, ([1, 2, 3] - [2])]`:                           {"application/json", "[1,[1,3]]"},
		`["abab" | indices("ab"), index("b"), rindex("b")]`:        {"application/json", "[[0,2],1,3]"},
		`[{"a": ["xy"]} | contains({a: ["x"]}, {a: [1]})]`:         {"application/json", "[true,false]"},
		`def index(f): "own"; index(1)`:                            {"text/plain; charset=utf-8", "own"},
		`.result.items | map(.id | inside("abc"))`:                 {"application/json", "[true,true]"},
		`12345678901234567890 * 2`:                                 {"application/json", "24691357802469134000"},
		`if .result.n > 5 then "big" else "small" end | {size: .}`: {"application/json", `{"size":"big"}`},
	} {
		if want[0] == "" {
			if _, err := ParseTemplate(program); err == nil || !strings.Contains(err.Error(), want[1]) {
				t.Errorf("%s: %v", program, err)
			}
			continue
		}
		contentType, body, err := run(t, program, input)
		if err != nil || [2]string{contentType, body} != want {
			t.Errorf("%s: %q %q %v, want %q", program, contentType, body, err, want)
		}
	}
}

func TestATemplateThatCannotBeBoundedIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	for program, want := range map[string]string{
		`.a = 1`:                                 "a template cannot assign (=)",
		`.[1e9] |= 1`:                            "a template cannot assign (|=)",
		`setpath([1000000000]; 1)`:               "the function setpath cannot be used",
		`input`:                                  "the function input cannot be used",
		`$ENV`:                                   "a template has no $ENV",
		`env`:                                    "the function env cannot be used",
		`import "a" as a; 1`:                     "a template cannot import modules",
		`[[1],[2]] | transpose`:                  "the function transpose cannot be used",
		`.a | test(.b)`:                          "the first argument of test must be a plain string",
		`"a" | gsub("\(.)"; "b")`:                "the first argument of gsub must be a plain string",
		`debug`:                                  "the function debug cannot be used",
		`{`:                                      "the template is no jq program",
		`$nobody`:                                "the template is no jq program",
		`.a | {"x": [(.b |= 1)]}`:                "a template cannot assign",
		`_ringback_made`:                         "the function _ringback_made cannot be used",
		`def _ringback_made: .; [1]`:             "a template cannot define _ringback_made",
		`def f(_ringback_made): [1]; f(.)`:       "a template cannot define _ringback_made",
		`_add(1; 2)`:                             "the function _add cannot be used",
		`. as {a: $x, (setpath([1];2)): $y} | 1`: "the function setpath cannot be used",
		strings.Repeat(" ", 17<<10):              "the template is larger than 16 KiB",
	} {
		if _, err := ParseTemplate(program); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.50s: %v, want %s", program, err, want)
		}
	}
}

// hungry are programs that take all the time or memory that they are given.
var hungry = []string{
	`def f: f; f`,
	`def f: 1 + f; f`,
	`last(range(1e18))`,
	`[repeat(1)]`,
	`[range(1e9)]`,
	`until(false; .)`,
	`[limit(1e12; repeat("x"))]`,
	`reduce range(60) as $i ("x"; . + .)`,
	`reduce range(60) as $i ([1]; . + .)`,
	`reduce range(60) as $i (0; [., .]) | tojson`,
	`reduce range(60) as $i (0; {a: ., b: .}) | length`,
	`reduce range(60) as $i ("\""; tojson)`,
	`reduce range(60) as $i ("\""; @json)`,
	`reduce range(60) as $i ("x"; "\(.)\(.)")`,
	`reduce range(99) as $i (7; . * . + 1) | [range(1e9)]`,
	`[range(30000)] as $l | [$l[] | ($l | tojson)]`,
	`[range(20000)] | map("x") | join(reduce range(16) as $i ("x"; . + .))`,
	`(reduce range(14) as $i ("x"; . + .)) as $x | $x | gsub("x"; $x)`,
	`try error("x") catch (. as $x | [repeat($x)])`,
	`[range(1e9)]? // 1`,
	`try [range(1e9)] catch 1`,
	`label $out | foreach repeat(1) as $i ([]; . + [$i]; empty)`,
	`[recurse(. , .)]`,
	`[paths, repeat(1)] | length`,
	`(reduce range(18) as $i ("x"; . + .)) as $x | $x | indices($x[:130000])`,
	`(reduce range(18) as $i ("x"; . + .)) as $x | "\($x)y" | rindex($x)`,
	`[range(40000)] - [range(30000) | -1]`,
	`[range(40000)] as $l | [range(30000) | 39999] | inside($l)`,
	`[range(40000)] | contains([range(30000) | 39999])`,
	`[range(20000)] as $l | $l | [range(100000) as $i | index([$i - 1])]`,
}

func TestATemplateThatRunsForEverOrMakesAGigabyteIsStopped(t *testing.T) {
	// Not parallel: it looks at the memory of the process.
	for _, program := range hungry {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		start := time.Now()
		_, body, err := run(t, program, map[string]any{"a": []any{1, 2}})
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s made %.100s", program, body)
		}
		if took := time.Since(start); took > 20*maxTemplateTime {
			t.Errorf("%s took %s", program, took)
		}
		// All that was taken from the system for the heap, however often collected.
		if made := int64(after.HeapSys) - int64(before.HeapSys); made > 512<<20 {
			t.Errorf("%s took %d MiB", program, made>>20)
		}
		t.Logf("%s: %v, %d MiB in all", program, err, (after.TotalAlloc-before.TotalAlloc)>>20)
	}
}

func TestWhatATemplateMayNotMakeIsAnError(t *testing.T) {
	t.Parallel()
	for program, want := range map[string]string{
		`empty`:             "the template made nothing",
		`1, 2`:              "the template's second output is no content type",
		`1, "not a type\n"`: "the template's second output is no content type",
		`1, "a/b", 3`:       "the template made more than a body and its content type",
		`error("sorry")`:    "sorry",
		`.a.b.c | keys`:     "keys cannot be applied to: null",
		`([range(10000)] | tojson) as $x | [range(100) | $x | ascii_upcase]`: "the template made too much",
		`[range(30000)] | map("abcdefghij")`:                                 "the template's output is larger than 256 KiB",
		`(reduce range(17) as $i ("x"; . + .)) | test("a")`:                  "a regular expression can look through 32 KiB",
		`"x" * 3`:           "a template can multiply numbers only",
		`[[1]] | join(",")`: "join takes strings, numbers, booleans and null",
	} {
		if _, _, err := run(t, program, map[string]any{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", program, err, want)
		}
	}
}

func TestATemplateThatFailsLosesNoCallback(t *testing.T) {
	t.Parallel()
	for program, want := range map[string]string{`error("sorry")`: "sorry", `[repeat(1)]`: "the template took too many steps"} {
		for what, change := range cases() {
			cb, j := owed(t, owingSender(t, publicURL, program), job.FormatTemplate, change)
			c := render(t, cb, j)
			var got struct {
				Type string
				Data struct {
					Job           struct{ ID string }
					TemplateError string `json:"template_error"`
					ResultURL     string `json:"result_url"`
				}
			}
			if err := json.Unmarshal(c.Body, &got); err != nil {
				t.Fatal(err)
			}
			if c.Type != "application/json" || got.Type != "scan."+string(cb.Event) || got.Data.Job.ID != j.ID.Job() || !strings.Contains(got.Data.TemplateError, want) {
				t.Errorf("%s: %s", what, c.Body)
			}
			if what == "large" && got.Data.ResultURL == "" {
				t.Errorf("%s: %s", what, c.Body)
			}
		}
	}
	s := owingSender(t, publicURL, `1`)
	s.templates = nil
	var log bytes.Buffer
	s.opt.Log = slog.New(slog.NewTextHandler(&log, nil))
	cb, j := owed(t, s, job.FormatTemplate, cases()["json"])
	if c := render(t, cb, j); !strings.Contains(string(c.Body), `"template_error":"the operation has no template"`) {
		t.Errorf("%s", c.Body)
	}
	if !strings.Contains(log.String(), `reason="the operation has no template"`) {
		t.Errorf("logged %s", &log)
	}
}

func TestATemplateSeesWhatTheJobWas(t *testing.T) {
	t.Parallel()
	s := owingSender(t, publicURL, `.`)
	for what, want := range map[string]string{
		"json": `{"content_type":"application/json","event":"succeeded","id":"cb_01k8000002e0080rk1cdnp4rb3","job":{"app":"shop","created_at":"2026-03-04T05:06:07.008Z",` +
			`"finished_at":"2026-03-04T05:06:09.008Z","id":"job_01k8000001e0080tkfc9n6yrh1","operation":"scan","started_at":"2026-03-04T05:06:08.008Z","status":"succeeded"},` +
			`"request":{"body":{"order":7},"header":{"content-type":"application/json","x-user":"ann"},"method":"POST","params":{"region":"eu"},"path":"/scan","query":"dry=1"},` +
			`"result":{"infected":true,"signature":"Eicar-Test-Signature"},"state":null,"timestamp":"2026-03-04T05:06:09.008Z","type":"scan.succeeded"}`,
		"canceled": `{"event":"canceled","id":"cb_01k8000002e0080rk1cdnp4rb3","job":{"app":"shop","created_at":"2026-03-04T05:06:07.008Z",` +
			`"finished_at":"2026-03-04T05:06:09.008Z","id":"job_01k8000001e0080tkfc9n6yrh1","operation":"scan","started_at":"2026-03-04T05:06:08.008Z","status":"canceled"},` +
			`"request":{"body":{"order":7},"header":{"content-type":"application/json","x-user":"ann"},"method":"POST","params":{"region":"eu"},"path":"/scan","query":"dry=1"},` +
			`"result":null,"state":null,"timestamp":"2026-03-04T05:06:09.008Z","type":"scan.canceled"}`,
	} {
		cb, j := owed(t, s, job.FormatTemplate, cases()[what])
		if got := string(render(t, cb, j).Body); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", what, got, want)
		}
	}
}

func TestATemplateIsRunByManyAtTheSameTime(t *testing.T) {
	t.Parallel()
	p, err := ParseTemplate(`[.n, (.n | tostring), ([range(20)] | add)] | join("-")`)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	for n := range 8 {
		running.Go(func() {
			for range 50 {
				_, body, err := p.render(map[string]any{"n": n}, time.Now)
				if want := fmt.Sprintf("%d-%d-190", n, n); err != nil || string(body) != want {
					t.Errorf("%s %v, want %s", body, err, want)
				}
			}
		})
	}
	running.Wait()
}

func FuzzTemplate(f *testing.F) {
	for _, program := range hungry {
		f.Add(program, `{"result":{"a":[1,"x",null]}}`)
	}
	f.Add(sampleTemplate, `{"job":{},"request":{"header":{}}}`)
	f.Add(`.. | numbers`, `[[[1]]]`)
	f.Add(`. as [$a, {b: $c}] ?// $a | [$a]`, `[1,{"b":2}]`)
	f.Fuzz(func(t *testing.T, program, text string) {
		input, ok := parseJSON([]byte(text))
		if !ok || len(text) > 1<<10 || len(program) > 1<<10 {
			return
		}
		p, err := ParseTemplate(program)
		if err != nil {
			return
		}
		start := time.Now()
		_, body, err := p.render(input, time.Now)
		if took := time.Since(start); took > 20*maxTemplateTime {
			t.Errorf("%q took %s", program, took)
		}
		if err == nil && len(body) > maxTemplateBody {
			t.Errorf("%q made %d octets", program, len(body))
		}
	})
}
