package docs_test

import (
	"bytes"
	"encoding/json"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/internal/npmtest"
	"github.com/ringback/ringback/job"
)

const jsFolder = "testdata/js"

// node runs a script of jsFolder.
func node(t *testing.T, input string, argv ...string) string {
	t.Helper()
	npmtest.Install(t, jsFolder)
	command := exec.CommandContext(t.Context(), "node", argv...)
	command.Dir = jsFolder
	command.Stdin = strings.NewReader(input)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("node %s: %v\n%s%s", strings.Join(argv, " "), err, output, stderr.String())
	}
	return string(output)
}

func TestOpenAPIDocumentIsValid(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*ringback.Options){
		"operations": nil,
		"prefix":     func(o *ringback.Options) { o.Prefix = "/.ringback" },
		"odd method": func(o *ringback.Options) {
			o.Operations[0].Route, o.Operations[0].Callback.Format = "PURGE /odd/{rest...}", job.FormatQuery
		},
		"signatures": func(o *ringback.Options) {
			for i, signature := range []string{`[{"legacy":"stripe"}, {"legacy":{"header":"!odd'name","timestamp_header":"When"}}]`, "none", "v1a"} {
				o.Operations[i].Callback.Signature = signature
			}
		},
		"challenge": func(o *ringback.Options) { o.Proof = job.ProofChallenge },
		"handshake": func(o *ringback.Options) { o.Proof, o.PublicURL = job.ProofHandshake, "https://api.example.com" },
		"upstream": func(o *ringback.Options) {
			o.Operations, o.Upstream = nil, &url.URL{Scheme: "http", Host: "127.0.0.1:9000"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var prefix string
			g := start(t, func(o *ringback.Options) {
				if change != nil {
					change(o)
				}
				if prefix = o.Prefix; o.Upstream != nil {
					prefix = ringback.UpstreamPrefix
				}
			})
			_, document := g.get(t, prefix+"/openapi.json")
			if wrong := node(t, document, "lint.mjs"); wrong != "" {
				t.Errorf("the validators say:\n%s", wrong)
			}
		})
	}
}

func TestValidatorsSeeWhatIsWrong(t *testing.T) {
	t.Parallel()
	_, document := start(t, nil).get(t, "/openapi.json")
	for wrong, change := range map[string][2]string{
		"schema:":                        {`"openapi":"3.1.0"`, `"openapi":"3.1.0","unheard-of":1`},
		"no-invalid-media-type-examples": {`"type":"notify.succeeded"`, `"type":"notify.celebrated"`},
		"no-unresolved-refs":             {`#/components/schemas/JobError"`, `#/components/schemas/Nowhere"`},
	} {
		broken := strings.ReplaceAll(document, change[0], change[1])
		if said := node(t, broken, "lint.mjs"); broken == document || !strings.Contains(said, wrong) {
			t.Errorf("%s is not said of a broken document:\n%.2000s", wrong, said)
		}
	}
}

func TestChoicesOfACallAreEnumerated(t *testing.T) {
	t.Parallel()
	_, document := start(t, nil).get(t, "/openapi.json")
	for _, want := range []string{`"enum":["POST","PUT","PATCH","GET","DELETE"]`, `"enum":["envelope","raw","thin",`,
		"accepted, running, progress, succeeded, failed, canceled, expired."} {
		if !strings.Contains(document, want) {
			t.Errorf("the document has no %s", want)
		}
	}
}

// described is what an OpenAPI document says of a callback.
type described struct {
	Parameters []struct{ Name, In string }
	Security   []map[string][]string
}

func TestHeadersOfACallbackAreToldWhateverTheirNames(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *ringback.Options) {
		c := &o.Operations[0].Callback
		c.Signature, c.Headers = `[{"legacy":"stripe"},{"legacy":"slack"}]`, map[string]string{"Order-Id": "{$request.body#/order}"}
	})
	_, text := g.get(t, "/openapi.json")
	var document struct {
		Components struct {
			SecuritySchemes map[string]struct{ In, Name string }
		}
		Webhooks map[string]map[string]described
	}
	if err := json.Unmarshal([]byte(text), &document); err != nil {
		t.Fatal(err)
	}
	callback := document.Webhooks["notify.succeeded"]["post"]
	var names []string
	for _, p := range callback.Parameters {
		names = append(names, p.Name)
	}
	want := []string{"order-id", "stripe-signature", "webhook-id", "webhook-timestamp", "x-slack-request-timestamp", "x-slack-signature"}
	if !slices.Equal(names, want) {
		t.Errorf("the headers are %q, want %q", names, want)
	}
	for _, header := range []string{"stripe-signature", "x-slack-signature"} {
		if len(callback.Security) != 1 || callback.Security[0]["legacy."+header] == nil || document.Components.SecuritySchemes["legacy."+header].Name != header {
			t.Errorf("the security %v does not name %s", callback.Security, header)
		}
	}
}

func TestEveryEventOfEveryOperationIsAWebhook(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *ringback.Options) { o.Operations[0].Callback.Format = job.FormatQuery })
	_, text := g.get(t, "/openapi.json")
	var document struct{ Webhooks map[string]map[string]any }
	if err := json.Unmarshal([]byte(text), &document); err != nil {
		t.Fatal(err)
	}
	for _, op := range operations(t) {
		for _, event := range append(slices.Clone(job.AllEvents), job.EventAsk) {
			if document.Webhooks[op.Name+"."+string(event)] == nil {
				t.Errorf("%s.%s is missing", op.Name, event)
			}
		}
	}
	if document.Webhooks["notify.succeeded"]["get"] == nil || document.Webhooks["notify.ask"]["post"] == nil || document.Webhooks["scan.succeeded"]["put"] == nil {
		t.Error("the webhooks have not the operations' methods")
	}
}

func TestEverythingThatAnOperationReadsOfACallIsAParameter(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *ringback.Options) {
		o.Operations[0].Callback = job.Contract{Query: map[string]string{"order": "{$request.query.order}"}}
		o.Operations[3].Callback.Required = true
	})
	_, text := g.get(t, "/openapi.json")
	var document struct {
		Paths map[string]map[string]struct {
			Parameters []struct {
				Name, In string
				Required bool
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &document); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/notify": "callback? X-Callback? callbackURL? X-Callback-Url? callbackEvents? X-Callback-Events? callbackState? X-Callback-State? order?",
		"/reports/{kind}": "kind to? copy? good? bad? X-Order? callback? X-Callback? callbackEvents? X-Callback-Events? callbackState? X-Callback-State? " +
			"callbackMethod? X-Callback-Method? callbackFormat? X-Callback-Format?",
		"/scan/{region}/{rest}": "region rest callback? X-Callback? X-Callback-Url? callbackEvents? X-Callback-Events? callbackState? X-Callback-State?",
		"/thumbnail":            "",
	} {
		var got []string
		for _, op := range document.Paths[path] {
			for _, p := range op.Parameters {
				name := p.Name
				if !p.Required {
					name += "?"
				}
				in := "query"
				switch {
				case p.Required:
					in = "path"
				case unicode.IsUpper(rune(p.Name[0])):
					in = "header"
				}
				if p.In != in {
					t.Errorf("%s: %s is said to be in the %s", path, p.Name, p.In)
				}
				got = append(got, name)
			}
		}
		// What every operation has.
		wanted := append(strings.Fields(want), "Prefer?", "Idempotency-Key?")
		slices.Sort(got)
		slices.Sort(wanted)
		if !slices.Equal(got, wanted) {
			t.Errorf("%s: %q, want %q", path, got, wanted)
		}
	}
}
