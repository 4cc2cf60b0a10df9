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
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/docs"
	"github.com/ringback/ringback/job"
)

const apiDescription = "Calls of the operations are answered with 202 at once. The result goes to the callback URL, " +
	"signed as Standard Webhooks say, and can be had below /v1 as well. What arrives at a callback URL stands in the " +
	"callbacks of each operation, named by its format, and what arrives at a registered endpoint in the webhooks."

func (a *API) info() *huma.Info {
	return &huma.Info{Title: "Ringback", Version: cmp.Or(a.opt.Version, "dev"), Description: apiDescription,
		License: &huma.License{Name: "Apache-2.0", URL: "https://www.apache.org/licenses/LICENSE-2.0"}}
}

func securitySchemes() map[string]*huma.SecurityScheme {
	signature := func(header, description string) *huma.SecurityScheme {
		return &huma.SecurityScheme{Type: "apiKey", In: "header", Name: header, Description: description}
	}
	return map[string]*huma.SecurityScheme{
		schemeApp:   {Type: "http", Scheme: "bearer", Description: "An app's API key."},
		schemeKey:   {Type: "apiKey", In: "header", Name: "Ringback-Key", Description: "The same key in a header of its own."},
		schemeAdmin: {Type: "http", Scheme: "bearer", Description: "The gateway's admin key."},
		schemeWebhook: signature("webhook-signature", "For receivers: the signature of Standard Webhooks over webhook-id, "+
			"webhook-timestamp and the body."),
		schemeMessage: signature("signature", "For receivers: an HTTP Message Signature (RFC 9421)."),
	}
}

// What receivers verify.
const (
	schemeWebhook = "webhookSignature"
	schemeMessage = "messageSignature"
)

// describe describes the operations, that of an upstream last.
func (a *API) describe() []docs.Operation {
	operations := slices.Clone(a.opt.Operations)
	if a.opt.Upstream != nil {
		operations = append(operations, *a.opt.Upstream)
	}
	described := make([]docs.Operation, len(operations))
	for i, op := range operations {
		op = op.WithDefaults()
		var examples []docs.Example
		if a.opt.Examples != nil {
			examples = a.opt.Examples(op)
		}
		described[i] = docs.Describe(op, examples)
	}
	return described
}

// document is the OpenAPI document: /v1 as it was registered, and the operations
// of the configuration.
func (v *v1) document(operations []docs.Operation) ([]byte, error) {
	doc := v.huma.OpenAPI()
	// huma adds its own error, which no route answers with.
	for _, name := range []string{"ErrorModel", "ErrorDetail"} {
		delete(doc.Components.Schemas.Map(), name)
	}
	doc.Webhooks, doc.Components.Examples = map[string]*huma.PathItem{}, map[string]*huma.Example{}
	for _, op := range operations {
		v.addOperation(doc, op)
		v.addWebhooks(doc, op)
	}
	v.addProof(doc)
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("make the OpenAPI document: %w", err)
	}
	return b, nil
}

// addOperation adds an operation of the configuration to the document, which has
// no place for those with a method of their own, and for the calls of an upstream.
func (v *v1) addOperation(doc *huma.OpenAPI, op docs.Operation) {
	if !slices.Contains(knownMethods, op.Method) || op.Method == http.MethodConnect {
		return
	}
	schemas := doc.Components.Schemas
	accepted := schemas.Schema(reflect.TypeFor[client.AcceptedJob](), true, "AcceptedJob")
	problem := schemas.Schema(reflect.TypeFor[client.Problem](), true, "Problem")
	described := &huma.Operation{
		OperationID: "call-" + strings.ReplaceAll(op.Name, "_", "-"), Method: op.Method, Path: op.Path,
		Summary: "Call the operation " + op.Name, Tags: []string{"Operations"},
		Servers:    []*huma.Server{{URL: cmp.Or(v.opt.PublicURL, "/")}}, // not below the prefix
		Security:   appOnly.security(job.ScopeSubmit),
		Parameters: parameters(op.Parameters),
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
		Callbacks: callbacks(doc.Components, &op),
	}
	if !isRead(op.Method) {
		described.RequestBody = requestBody(op.Pointers)
	}
	doc.AddOperation(described)
}

// requestBody is any body, unless something in it is looked for.
func requestBody(pointers []string) *huma.RequestBody {
	if len(pointers) == 0 {
		return &huma.RequestBody{Content: map[string]*huma.MediaType{"*/*": {}}}
	}
	schema := &huma.Schema{Type: "object"}
	for _, pointer := range pointers {
		at := schema
		for token := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
			token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
			if at.Properties == nil {
				at.Properties = map[string]*huma.Schema{}
			}
			if at.Properties[token] == nil {
				at.Properties[token] = &huma.Schema{}
			}
			at = at.Properties[token]
		}
		at.Description = "Read by the gateway, which calls back with it."
	}
	return &huma.RequestBody{Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
}

func splitRoute(route string) (method, path string) { return docs.SplitRoute(route) }

func parameters(described []docs.Parameter) []*huma.Param {
	params := make([]*huma.Param, len(described))
	for i, p := range described {
		params[i] = &huma.Param{Name: p.Name, In: p.In, Description: p.Description, Required: p.Required, Schema: &huma.Schema{Type: "string"}}
		if p.URL {
			params[i].Schema.Format = "uri"
		}
		for _, word := range p.Words {
			params[i].Schema.Enum = append(params[i].Schema.Enum, word)
		}
		if p.Example != "" {
			params[i].Example = p.Example
		}
	}
	return params
}

// callbacks describes the requests that an operation sends back, by their formats
// and by the expressions that say where they go.
func callbacks(components *huma.Components, op *docs.Operation) map[string]map[string]*huma.PathItem {
	all := map[string]map[string]*huma.PathItem{}
	for i := range op.Callbacks {
		c := &op.Callbacks[i]
		byURL := map[string]*huma.PathItem{}
		for _, destination := range op.Destinations {
			item := pathItem(c.Method(), callbackRequest(components, op, c, func(e job.Event) bool {
				return len(destination.Events) == 0 || slices.Contains(destination.Events, e)
			}))
			for _, source := range destination.Sources {
				if strings.HasPrefix(source, "$") {
					source = "{" + source + "}"
				}
				if byURL[source] == nil {
					byURL[source] = item
				}
			}
		}
		all[c.Format] = byURL
	}
	return all
}

func pathItem(method string, request *huma.Operation) *huma.PathItem {
	item := &huma.PathItem{}
	switch method {
	case http.MethodGet:
		item.Get = request
	case http.MethodPut:
		item.Put = request
	case http.MethodPatch:
		item.Patch = request
	case http.MethodDelete:
		item.Delete = request
	default:
		item.Post = request
	}
	return item
}

// addWebhooks describes what arrives at a registered endpoint, event by event, in the
// format of the operation. A question has one of its own where that cannot say it.
func (v *v1) addWebhooks(doc *huma.OpenAPI, op docs.Operation) {
	for i := range op.Callbacks {
		v.addWebhooksOf(doc, op, &op.Callbacks[i])
	}
}

func (v *v1) addWebhooksOf(doc *huma.OpenAPI, op docs.Operation, c *docs.Callback) {
	for _, example := range c.Examples {
		name := op.Name + "." + string(example.Event)
		if doc.Webhooks[name] != nil {
			continue
		}
		request := callbackRequest(doc.Components, &op, c, func(e job.Event) bool { return e == example.Event })
		request.OperationID = "on-" + strings.ReplaceAll(op.Name, "_", "-") + "-" + string(example.Event)
		request.Summary = "The event " + string(example.Event) + " of a call of " + op.Name
		request.Description = "Sent to the endpoints of the app that want this event. An endpoint may have a method and a format " +
			"of its own. " + request.Description
		doc.Webhooks[name] = pathItem(example.Method, request)
	}
}

// addProof describes what asks an endpoint whether it wants callbacks at all.
func (v *v1) addProof(doc *huma.OpenAPI) {
	word := &huma.Schema{Type: "string"}
	header := func(name, description string) *huma.Param {
		return &huma.Param{Name: name, In: "header", Required: true, Schema: word, Description: description}
	}
	request := &huma.Operation{Summary: "Whether an endpoint wants callbacks", Tags: []string{"Callbacks"},
		Description: "Sent before anything else is sent to the endpoint, and again before the consent expires.",
		Responses:   map[string]*huma.Response{"4XX": {Description: "No consent"}}}
	switch v.opt.Proof {
	case job.ProofChallenge:
		request.OperationID, request.Security = "endpoint-verification", []map[string][]string{{schemeWebhook: {}, schemeMessage: {}}}
		request.Parameters = []*huma.Param{header("webhook-id", "The request's id."), header("webhook-timestamp", "When it was signed, in seconds since 1970."),
			header("webhook-signature", "The signature of Standard Webhooks, by the endpoint's secret.")}
		request.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{
			Type: "object", Required: []string{"type", "timestamp", "data"}, Properties: map[string]*huma.Schema{
				"type": {Type: "string", Enum: []any{"endpoint.verification"}}, "timestamp": moment("When it was made."),
				"data": {Type: "object", Required: []string{"endpoint", "challenge"}, Properties: map[string]*huma.Schema{
					"endpoint": text("The endpoint's name."), "challenge": text("What consent repeats.")}},
			}}}}}
		request.Responses["2XX"] = &huma.Response{Description: "Consent: the challenge, plain or as JSON", Content: map[string]*huma.MediaType{
			"application/json": {Schema: &huma.Schema{Type: "object", Required: []string{"challenge"}, Properties: map[string]*huma.Schema{"challenge": word}}},
			"text/plain":       {Schema: word}}}
		doc.Webhooks["endpoint.verification"] = &huma.PathItem{Post: request}
	case job.ProofHandshake:
		request.OperationID, request.Security = "endpoint-handshake", []map[string][]string{{}}
		request.Parameters = []*huma.Param{header("webhook-request-origin", "The gateway's host.")}
		request.Responses["2XX"] = &huma.Response{Description: "Consent, whatever the status", Headers: map[string]*huma.Param{
			"WebHook-Allowed-Origin": {Description: "The gateway's host, or *: without it there is no consent.", Required: true, Schema: word},
			"WebHook-Allowed-Rate":   {Description: "How many callbacks a minute are allowed; * or none for any number.", Schema: word}}}
		doc.Webhooks["endpoint.handshake"] = &huma.PathItem{Options: request}
	}
}

// callbackRequest describes the request with the events that are wanted.
func callbackRequest(components *huma.Components, op *docs.Operation, c *docs.Callback, wanted func(job.Event) bool) *huma.Operation {
	request := &huma.Operation{
		Summary: "What comes of a call of " + op.Name,
		Description: "Sent at least once, with the same webhook-id and the same body at each attempt. " +
			"Any 2xx settles it, 410 and 415 end it; after any other answer, or none, there is another attempt as long as the schedule lasts.",
		Tags: []string{"Callbacks"}, Parameters: parameters(c.Parameters), Security: callbackSecurity(components, op, c),
		Responses: map[string]*huma.Response{
			"2XX": {Description: "Taken. The answer's body is kept with the attempt, up to 16 KiB. With the event ask it is the answer " +
				"to the question; 202 means that it comes later, to reply_url."},
			"4XX": {Description: "Not taken. 410 and 415 end the callback, after any other one it is repeated."},
		},
	}
	content := map[string]*huma.MediaType{}
	for _, e := range c.Examples {
		mediaType := e.ContentType()
		if mediaType == "" || !wanted(e.Event) {
			continue
		}
		if content[mediaType] == nil {
			content[mediaType] = &huma.MediaType{Schema: callbackSchema(components.Schemas, op, c.Format), Examples: map[string]*huma.Example{}}
		}
		name := op.Name + "." + c.Format + "." + string(e.Event)
		if components.Examples[name] == nil {
			components.Examples[name] = shownExample(op, &e)
		}
		content[mediaType].Examples[string(e.Event)] = &huma.Example{Ref: "#/components/examples/" + name}
	}
	if len(content) > 0 {
		request.RequestBody = &huma.RequestBody{Required: true, Content: content}
	}
	return request
}

func shownExample(op *docs.Operation, e *docs.Example) *huma.Example {
	shown := &huma.Example{Summary: op.Name + "." + string(e.Event)}
	switch {
	case e.IsJSON():
		shown.Value = json.RawMessage(e.Body)
	case utf8.Valid(e.Body):
		shown.Value = string(e.Body)
	default:
		shown.Description = "Octets that are no text."
	}
	return shown
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9.-]`)

// callbackSecurity is what the receiver can verify: all of it is sent. The signatures
// of other senders are schemes that no other operation need have.
func callbackSecurity(components *huma.Components, op *docs.Operation, c *docs.Callback) []map[string][]string {
	headers := map[string]string{schemeWebhook: "Webhook-Signature", schemeMessage: "Signature"}
	for _, l := range op.Legacy() {
		name := "legacy." + notInName.ReplaceAllString(strings.ToLower(l.Header), "_")
		headers[name] = l.Header
		components.SecuritySchemes[name] = &huma.SecurityScheme{Type: "apiKey", In: "header", Name: strings.ToLower(l.Header),
			Description: "For receivers: an HMAC over " + cmp.Or(l.Signed, "{body}") + ", as another sender has sent it."}
	}
	schemes := map[string][]string{}
	for name, header := range headers {
		if c.Examples[0].Header.Get(header) != "" {
			schemes[name] = []string{}
		}
	}
	return []map[string][]string{schemes}
}
