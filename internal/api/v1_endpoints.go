package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

// kindTooManyEndpoints bounds what a list of endpoints has to hold.
var kindTooManyEndpoints = newKind(http.StatusConflict, "too_many_endpoints", "The app has as many endpoints as it may")

const maxEndpoints = 100

// EndpointPath names an endpoint.
type EndpointPath struct {
	Name string `path:"name" doc:"The endpoint's name."`
}

type createEndpointInput struct {
	Body client.EndpointCreate
}

type patchEndpointInput struct {
	EndpointPath
	Body client.EndpointPatch
}

// created is the answer to a POST that made something.
type created[T any] struct {
	Location string `header:"Location"`
	Body     T
}

func (v *v1) registerEndpoints() {
	tags := []string{"Endpoints"}
	register(v, appOnly, huma.Operation{OperationID: "list-endpoints", Method: http.MethodGet, Path: "/v1/endpoints",
		Summary: "List endpoints, newest first", Tags: tags}, v.listEndpoints)
	register(v, appOnly, huma.Operation{OperationID: "create-endpoint", Method: http.MethodPost, Path: "/v1/endpoints",
		Summary: "Register a callback URL", Tags: tags, DefaultStatus: http.StatusCreated}, v.createEndpoint)
	register(v, appOnly, huma.Operation{OperationID: "get-endpoint", Method: http.MethodGet, Path: "/v1/endpoints/{name}",
		Summary: "Get an endpoint", Tags: tags}, v.getEndpoint)
	register(v, appOnly, huma.Operation{OperationID: "change-endpoint", Method: http.MethodPatch, Path: "/v1/endpoints/{name}",
		Summary: "Change an endpoint", Tags: tags}, v.patchEndpoint)
	register(v, appOnly, huma.Operation{OperationID: "delete-endpoint", Method: http.MethodDelete, Path: "/v1/endpoints/{name}",
		Summary: "Delete an endpoint", Tags: tags}, v.deleteEndpoint)
	register(v, appOnly, huma.Operation{OperationID: "verify-endpoint", Method: http.MethodPost, Path: "/v1/endpoints/{name}/verify",
		Summary: "Have its receiver asked again whether it wants callbacks", Tags: tags, DefaultStatus: http.StatusAccepted}, v.verifyEndpoint)
	register(v, appOnly, huma.Operation{OperationID: "enable-endpoint", Method: http.MethodPost, Path: "/v1/endpoints/{name}/enable",
		Summary: "Enable an endpoint that is disabled, and deliver or discard what waited for it", Tags: tags}, v.enableEndpoint)
}

func (v *v1) listEndpoints(ctx context.Context, _ *none) (*reply[client.Page[client.Endpoint]], error) {
	found, err := v.opt.Store.ListEndpoints(ctx, appOf(ctx).Name)
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "list endpoints", err)
	}
	slices.SortStableFunc(found, func(a, b job.Endpoint) int { return b.CreatedAt.Compare(a.CreatedAt) })
	out := client.Page[client.Endpoint]{Data: make([]client.Endpoint, 0, len(found))}
	for _, e := range found {
		out.Data = append(out.Data, v.showEndpoint(e))
	}
	return &reply[client.Page[client.Endpoint]]{out}, nil
}

func (v *v1) createEndpoint(ctx context.Context, in *createEndpointInput) (*created[client.Endpoint], error) {
	now := v.now()
	b := in.Body
	e := job.Endpoint{
		App: appOf(ctx).Name, Name: b.Name, URL: b.URL, Default: b.Default, Operations: b.Operations,
		Events: events(b.Events), Method: b.Method, Format: b.Format, Concurrency: b.Concurrency, Rate: rate(b.Rate), Disabled: b.Disabled, Operational: b.Operational,
		ProgressInterval: interval(b.ProgressInterval), Ordered: b.Ordered, OrderKey: b.OrderKey,
		CreatedAt: now, UpdatedAt: now, Secrets: job.Secrets{Current: sealedSecret(v.opt.Seal)},
	}
	if err := v.setHeaders(&e, b.Headers); err != nil {
		return nil, err
	}
	if err := v.setSignature(&e, b.Signature); err != nil {
		return nil, err
	}
	if b.Secret != "" {
		brought, err := v.broughtSecret(b.Secret, "#/secret")
		if err != nil {
			return nil, err
		}
		e.Secrets.Current = brought
	}
	if err := v.setAuth(&e, b.Auth); err != nil {
		return nil, err
	}
	if err := v.checkAuth(&e); err != nil {
		return nil, err
	}
	if err := v.checkEndpoint(ctx, &e); err != nil {
		return nil, err
	}
	v.changing.Lock()
	defer v.changing.Unlock()
	before, err := v.opt.Store.ListEndpoints(ctx, e.App)
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "list endpoints", err)
	}
	named := func(other job.Endpoint) bool { return other.Name == e.Name }
	if most := callerOf(ctx).limits.Endpoints; most > 0 && int64(len(before)) >= most && !slices.ContainsFunc(before, named) {
		return nil, limited(kindLimitEndpoints, "endpoints", most, endpointsRetrySeconds)
	}
	if len(before) >= maxEndpoints && !slices.ContainsFunc(before, named) {
		return nil, kindTooManyEndpoints.problem(fmt.Sprintf("an app may have %d endpoints", maxEndpoints)).
			withHint("delete one that is not used, or send the URL with the call")
	}
	err = v.opt.Store.CreateEndpoint(whole(ctx), e)
	if errors.Is(err, job.ErrExists) {
		return nil, kindConflict.problem("there is an endpoint of this name already")
	}
	if errors.Is(err, job.ErrTooMany) {
		return nil, secondOperational()
	}
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "create endpoint", err)
	}
	if e, err = v.endpoint(ctx, e.Name); err != nil {
		return nil, err
	}
	return &created[client.Endpoint]{v.opt.PublicURL + v.opt.Prefix + "/v1/endpoints/" + e.Name, v.showEndpoint(e)}, nil
}

// endpoint reads an endpoint of the request's app.
func (v *v1) endpoint(ctx context.Context, name string) (job.Endpoint, error) {
	if !endpointName.MatchString(name) {
		return job.Endpoint{}, kindNotFound.problem(noSuchThing)
	}
	e, err := v.opt.Store.Endpoint(ctx, appOf(ctx).Name, name)
	if err != nil {
		return e, storeProblem(ctx, v.opt.Log, "read endpoint", err)
	}
	return e, nil
}

func (v *v1) getEndpoint(ctx context.Context, in *EndpointPath) (*reply[client.Endpoint], error) {
	e, err := v.endpoint(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	return &reply[client.Endpoint]{v.showEndpoint(e)}, nil
}

func (v *v1) patchEndpoint(ctx context.Context, in *patchEndpointInput) (*reply[client.Endpoint], error) {
	e, err := v.changeEndpoint(ctx, in.Name, func(e *job.Endpoint) error {
		if err := v.apply(e, in.Body); err != nil {
			return err
		}
		return v.checkEndpoint(ctx, e)
	})
	if err != nil {
		return nil, err
	}
	return &reply[client.Endpoint]{v.showEndpoint(e)}, nil
}

// changeEndpoint reads, changes and writes an endpoint, one at a time: a change
// must not bring back a secret that was replaced meanwhile.
func (v *v1) changeEndpoint(ctx context.Context, name string, change func(*job.Endpoint) error) (job.Endpoint, error) {
	v.changing.Lock()
	defer v.changing.Unlock()
	e, err := v.endpoint(ctx, name)
	if err != nil {
		return e, err
	}
	if err := change(&e); err != nil {
		return e, err
	}
	e.UpdatedAt = v.now()
	if err := v.opt.Store.UpdateEndpoint(whole(ctx), e); errors.Is(err, job.ErrTooMany) {
		return e, secondOperational()
	} else if err != nil {
		return e, storeProblem(ctx, v.opt.Log, "change endpoint", err)
	}
	return v.endpoint(ctx, name)
}

func secondOperational() *Problem {
	return kindConflict.problem("another endpoint of the app is operational, and only one is").withHint("make that one operational no more first")
}

func (v *v1) apply(e *job.Endpoint, patch client.EndpointPatch) error {
	if err := v.leaveSecrets(e, patch); err != nil {
		return err
	}
	set(&e.URL, patch.URL)
	set(&e.Default, patch.Default)
	set(&e.Method, patch.Method)
	set(&e.Format, patch.Format)
	set(&e.Concurrency, patch.Concurrency)
	if patch.Rate != nil {
		e.Rate = rate(*patch.Rate)
	}
	set(&e.Disabled, patch.Disabled)
	set(&e.Ordered, patch.Ordered)
	set(&e.OrderKey, patch.OrderKey)
	if !e.Ordered && patch.OrderKey == nil {
		e.OrderKey = ""
	}
	set(&e.Operational, patch.Operational)
	if err := v.setSignature(e, patch.Signature); err != nil {
		return err
	}
	if patch.ProgressInterval != nil {
		e.ProgressInterval = interval(*patch.ProgressInterval)
	}
	if patch.Operations != nil {
		e.Operations = patch.Operations
	}
	if patch.Events != nil {
		e.Events = events(patch.Events)
	}
	if patch.Headers != nil {
		if err := v.setHeaders(e, patch.Headers); err != nil {
			return err
		}
	}
	if err := v.setAuth(e, patch.Auth); err != nil {
		return err
	}
	return v.checkAuth(e)
}

// rate reads a rate; of what is none the count is negative, which checkEndpoint refuses.
func rate(text string) job.Rate {
	r, err := job.ParseRate(text)
	if err != nil {
		return job.Rate{Count: -1}
	}
	return r
}

// set changes what a patch names.
func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func (v *v1) deleteEndpoint(ctx context.Context, in *EndpointPath) (*none, error) {
	if !endpointName.MatchString(in.Name) {
		return nil, kindNotFound.problem(noSuchThing)
	}
	if err := v.opt.Store.DeleteEndpoint(whole(ctx), appOf(ctx).Name, in.Name); err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "delete endpoint", err)
	}
	return nil, nil
}

// showEndpoint is an endpoint as the API shows it.
func (v *v1) showEndpoint(e job.Endpoint) client.Endpoint {
	out := client.Endpoint{
		Name: e.Name, URL: e.URL, Default: e.Default, Operations: e.Operations, Method: e.Method, Format: e.Format,
		Headers: maps.Clone(e.Headers), Concurrency: e.Concurrency, Rate: e.Rate.String(), Disabled: e.Disabled,
		Signature: showSignature(e.Signature), CreatedAt: client.At(e.CreatedAt), UpdatedAt: client.At(e.UpdatedAt),
	}
	out.Operational, out.DisabledReason = e.Operational, e.DisabledReason
	out.DisabledAt, out.FailingSince = client.At(e.DisabledAt), client.At(e.Failing.Since)
	out.Events, out.Ordered, out.OrderKey = words(e.Events), e.Ordered, e.OrderKey
	if e.ProgressInterval > 0 {
		out.ProgressInterval = e.ProgressInterval.String()
	}
	if len(e.Authorization) > 0 {
		if out.Headers == nil {
			out.Headers = map[string]string{}
		}
		out.Headers[authorizationHeader] = redactedValue
	}
	out.Auth, out.Verification = v.showAuth(&e), v.showVerification(&e)
	return out
}

// words is nil for no events.
func words(events []job.Event) []string {
	var out []string
	for _, event := range events {
		out = append(out, string(event))
	}
	return out
}

func events(words []string) []job.Event {
	out := make([]job.Event, 0, len(words))
	for _, word := range words {
		out = append(out, job.Event(word))
	}
	return out
}
