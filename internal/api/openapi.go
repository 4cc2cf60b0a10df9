package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

const apiDescription = "Calls of the operations are answered with 202 at once. The result goes to the callback URL, " +
	"signed as Standard Webhooks say, and can be had below /v1 as well."

func (a *API) info() *huma.Info {
	return &huma.Info{Title: "Ringback", Version: cmp.Or(a.opt.Version, "dev"), Description: apiDescription}
}

func securitySchemes() map[string]*huma.SecurityScheme {
	return map[string]*huma.SecurityScheme{
		schemeApp:   {Type: "http", Scheme: "bearer", Description: "An app's API key."},
		schemeKey:   {Type: "apiKey", In: "header", Name: "Ringback-Key", Description: "The same key in a header of its own."},
		schemeAdmin: {Type: "http", Scheme: "bearer", Description: "The gateway's admin key."},
	}
}

// document is the OpenAPI document: /v1 as it was registered, and the operations
// of the configuration. It never changes, so it is made once.
func (v *v1) document() ([]byte, error) {
	doc := v.huma.OpenAPI()
	// huma adds its own error, which no route answers with.
	for _, name := range []string{"ErrorModel", "ErrorDetail"} {
		delete(doc.Components.Schemas.Map(), name)
	}
	for _, op := range v.opt.Operations {
		v.describe(doc, op)
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("make the OpenAPI document: %w", err)
	}
	return b, nil
}

// describe adds an operation of the configuration to the document.
func (v *v1) describe(doc *huma.OpenAPI, op job.Operation) {
	method, path := splitRoute(op.Route)
	schemas := doc.Components.Schemas
	accepted := schemas.Schema(reflect.TypeFor[client.AcceptedJob](), true, "AcceptedJob")
	problem := schemas.Schema(reflect.TypeFor[client.Problem](), true, "Problem")
	described := &huma.Operation{
		OperationID: "call-" + strings.ReplaceAll(op.Name, "_", "-"), Method: method, Path: path,
		Summary: "Call the operation " + op.Name, Tags: []string{"Operations"},
		Servers:    []*huma.Server{{URL: cmp.Or(v.opt.PublicURL, "/")}}, // not below the prefix
		Security:   appOnly.security,
		Parameters: append(pathParameters(path), choiceParameters(op)...),
		Responses: map[string]*huma.Response{
			"202": {
				Description: "The call is safe on disk, and its result will come",
				Headers: map[string]*huma.Param{
					"Location":    {Description: "The job.", Schema: &huma.Schema{Type: "string"}},
					"Retry-After": {Description: "When to look for the result, in seconds.", Schema: &huma.Schema{Type: "integer"}},
				},
				Content: map[string]*huma.MediaType{"application/json": {Schema: accepted}},
			},
			"default": {
				Description: "A problem (RFC 9457)",
				Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: problem}},
			},
		},
		Callbacks: callbacks(schemas, op),
	}
	if !isRead(method) {
		described.RequestBody = &huma.RequestBody{Content: map[string]*huma.MediaType{"*/*": {}}}
	}
	doc.AddOperation(described)
}

var pathWildcard = regexp.MustCompile(`\{([^}.]+)(\.\.\.)?\}`)

// splitRoute makes the method and the path of an OpenAPI operation of a pattern
// of net/http's.
func splitRoute(route string) (method, path string) {
	method, path, _ = strings.Cut(route, " ")
	path = strings.TrimLeft(path, " \t")
	if i := strings.IndexByte(path, '/'); i > 0 {
		path = path[i:] // a host
	}
	path = strings.ReplaceAll(path, "{$}", "")
	return method, pathWildcard.ReplaceAllString(path, "{$1}")
}

func pathParameters(path string) []*huma.Param {
	var params []*huma.Param
	for _, m := range pathWildcard.FindAllStringSubmatch(path, -1) {
		params = append(params, &huma.Param{Name: m[1], In: "path", Required: true, Schema: &huma.Schema{Type: "string"}})
	}
	return params
}

// choiceParameters are what a caller may choose about the callback.
func choiceParameters(op job.Operation) []*huma.Param {
	text := &huma.Schema{Type: "string"}
	params := []*huma.Param{
		{Name: "callback", In: "query", Schema: text, Description: "The name of an endpoint of the app that the callback goes to."},
		{Name: "X-Callback", In: "header", Schema: text, Description: "The same as a header."},
		{Name: "Prefer", In: "header", Schema: text, Description: "respond-async, wait=N (RFC 7240): wait so many seconds for the result itself."},
		{Name: "Idempotency-Key", In: "header", Schema: text, Description: "Makes a repeated call answer with the first one's job."},
	}
	for _, expression := range op.Callback.URL {
		in, name := "query", ""
		switch {
		case strings.HasPrefix(expression, "{$request.query."):
			name = strings.TrimSuffix(strings.TrimPrefix(expression, "{$request.query."), "}")
		case strings.HasPrefix(expression, "{$request.header."):
			in, name = "header", strings.TrimSuffix(strings.TrimPrefix(expression, "{$request.header."), "}")
		}
		if name != "" && !strings.ContainsAny(name, "{}") {
			params = append(params, &huma.Param{Name: name, In: in, Schema: &huma.Schema{Type: "string", Format: "uri"},
				Description: "The callback URL.", Required: op.Callback.Required && len(op.Callback.URL) == 1})
		}
	}
	if slices.Contains(op.Callback.CallerMay, "state") {
		params = append(params, &huma.Param{Name: "callbackState", In: "query", Schema: text,
			Description: "Any text, which stands in the callback as data.state."})
	}
	if slices.Contains(op.Callback.CallerMay, "events") {
		params = append(params, &huma.Param{Name: "callbackEvents", In: "query", Schema: text,
			Description: "The events to call back for, with commas between them."})
	}
	return params
}

// callbacks describes the request that an operation sends back.
func callbacks(schemas huma.Registry, op job.Operation) map[string]map[string]*huma.PathItem {
	request := &huma.Operation{
		Summary: "The end of a call of " + op.Name,
		Description: "Sent at least once, with the same webhook-id and the same body at each attempt. " +
			"Any 2xx settles it, 410 and 415 end it; after any other answer, or none, there is another attempt as long as the schedule lasts.",
		Parameters: signatureParameters(),
		RequestBody: &huma.RequestBody{
			Required: true,
			Content:  map[string]*huma.MediaType{"application/json": {Schema: envelopeSchema(schemas, op)}},
		},
		Responses: map[string]*huma.Response{"2XX": {Description: "Taken. The answer's body is kept with the attempt, up to 16 KiB."}},
	}
	item := &huma.PathItem{}
	switch op.Callback.Method {
	case http.MethodPut:
		item.Put = request
	case http.MethodPatch:
		item.Patch = request
	default:
		item.Post = request
	}
	done := map[string]*huma.PathItem{}
	for _, expression := range op.Callback.URL {
		done[expression] = item
	}
	return map[string]map[string]*huma.PathItem{"done": done}
}

func signatureParameters() []*huma.Param {
	header := func(name, description string) *huma.Param {
		return &huma.Param{Name: name, In: "header", Required: true, Schema: &huma.Schema{Type: "string"}, Description: description}
	}
	return []*huma.Param{
		header("webhook-id", "The callback's id: the same at each attempt."),
		header("webhook-timestamp", "When the attempt was signed, in seconds since 1970."),
		header("webhook-signature", "v1, and the base64 of HMAC-SHA256 over id.timestamp.body; several with a space between them."),
	}
}

// envelopeSchema is the body of a callback: type, timestamp, data.
func envelopeSchema(schemas huma.Registry, op job.Operation) *huma.Schema {
	types := make([]any, 0, len(op.Callback.Events))
	for _, event := range op.Callback.Events {
		types = append(types, op.Name+"."+string(event))
	}
	text := func(description string) *huma.Schema {
		return &huma.Schema{Type: "string", Description: description}
	}
	encoded := text("Other bytes.")
	encoded.ContentEncoding = "base64"
	link := text("A link to a result that is too large to stand here; it lasts as long as the job.")
	link.Format = "uri-reference"
	return &huma.Schema{
		Type: "object", Required: []string{"type", "timestamp", "data"},
		Properties: map[string]*huma.Schema{
			"type":      {Type: "string", Enum: types},
			"timestamp": {Type: "string", Format: "date-time", Description: "When the job ended."},
			"data": {
				Type: "object", Required: []string{"job"},
				Properties: map[string]*huma.Schema{
					"job":           endedJobSchema(op),
					"state":         text("What the call gave as callbackState."),
					"content_type":  text("The result's own."),
					"result":        {Description: "A result that is JSON."},
					"result_text":   text("A result that is other UTF-8 text."),
					"result_base64": encoded,
					"result_url":    link,
					"error":         schemas.Schema(reflect.TypeFor[client.JobError](), true, "JobError"),
				},
			},
		},
	}
}

// endedJobSchema is the job in a callback.
func endedJobSchema(op job.Operation) *huma.Schema {
	text := &huma.Schema{Type: "string"}
	moment := &huma.Schema{Type: "string", Format: "date-time"}
	status := &huma.Schema{Type: "string"}
	for _, event := range op.Callback.Events {
		status.Enum = append(status.Enum, string(event))
	}
	return &huma.Schema{
		Type: "object", Description: "The job that ended.", Required: []string{"id", "operation", "status", "created_at", "finished_at"},
		Properties: map[string]*huma.Schema{
			"id": text, "operation": text, "status": status, "created_at": moment, "started_at": moment, "finished_at": moment,
		},
	}
}
