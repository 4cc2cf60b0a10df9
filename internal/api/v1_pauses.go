package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

var kindTooManyPauses = newKind(http.StatusConflict, "too_many_pauses", "The app has paused as much as it may")

const pausePrefix = "pause_"

type createPauseInput struct {
	Body client.PauseCreate
}

type pauseInput struct {
	ID string `path:"id" doc:"The pause's id."`
}

func (v *v1) registerPauses() {
	tags := []string{"Pauses"}
	register(v, adminOrApp, huma.Operation{OperationID: "list-pauses", Method: http.MethodGet, Path: "/v1/pauses",
		Summary: "List what is paused", Tags: tags}, v.listPauses)
	register(v, adminOrApp, huma.Operation{OperationID: "pause", Method: http.MethodPost, Path: "/v1/pauses",
		Summary: "Pause everything, an operation, or a destination", Tags: tags, DefaultStatus: http.StatusCreated}, v.createPause)
	register(v, adminOrApp, huma.Operation{OperationID: "resume", Method: http.MethodDelete, Path: "/v1/pauses/{id}",
		Summary: "End a pause", Tags: tags}, v.endPause)
}

func (v *v1) listPauses(ctx context.Context, _ *none) (*reply[client.Page[client.Pause]], error) {
	all, err := v.opt.Store.ListPauses(ctx)
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "list pauses", err)
	}
	own := appOf(ctx).Name
	out := client.Page[client.Pause]{Data: []client.Pause{}}
	for i := range all {
		// What the gateway's operator has paused concerns every app.
		if p := &all[i]; p.To.IsZero() && !p.Disabled && (own == "" || p.App == "" || p.App == own) {
			out.Data = append(out.Data, showPause(p))
		}
	}
	return &reply[client.Page[client.Pause]]{out}, nil
}

func (v *v1) createPause(ctx context.Context, in *createPauseInput) (*reply[client.Pause], error) {
	p, err := v.pauseOf(ctx, in.Body)
	if err != nil {
		return nil, err
	}
	p.From = v.now()
	stored, err := v.opt.Store.Pause(whole(ctx), p)
	switch {
	case errors.Is(err, job.ErrNotFound):
		return nil, kindNotFound.problem(noSuchThing)
	case errors.Is(err, job.ErrTooMany):
		return nil, kindTooManyPauses.problem(fmt.Sprintf("an app may have %d pauses, counted with those that pending callbacks still remember", job.MaxPauses))
	case err != nil:
		return nil, storeProblem(ctx, v.opt.Log, "pause", err)
	}
	return &reply[client.Pause]{showPause(&stored)}, nil
}

// pauseOf reads what is to rest.
func (v *v1) pauseOf(ctx context.Context, b client.PauseCreate) (p job.Pause, err error) {
	given := 0
	for _, is := range []bool{b.Everything, b.Operation != "", b.Endpoint != "", b.Origin != ""} {
		if is {
			given++
		}
	}
	if given != 1 {
		return p, faultyBody(ProblemItem{Pointer: "#", Detail: "one of everything, operation, endpoint and origin says what is to rest"})
	}
	own := appOf(ctx).Name
	if b.Everything || b.Operation != "" {
		switch {
		case own != "":
			return p, kindForbidden.problem("an app pauses its own destinations only: everything and operations are paused with the admin key")
		case b.App != "":
			return p, faultyBody(ProblemItem{Pointer: "#/app", Detail: "an app goes with an endpoint or an origin only"})
		case b.Operation != "" && !v.hasOperation(b.Operation):
			return p, faultyBody(ProblemItem{Pointer: "#/operation", Detail: "the gateway has no operation of this name"})
		}
		return job.Pause{Operation: b.Operation}, nil
	}
	p = job.Pause{App: own, Endpoint: b.Endpoint}
	switch {
	case own != "" && b.App != "" && b.App != own:
		return p, kindNotFound.problem(noSuchThing)
	case own == "" && b.App == "" && !v.opt.Dev:
		return p, faultyBody(ProblemItem{Pointer: "#/app", Detail: "with the admin key the app has to be named whose destination it is"})
	case own == "" && b.App == "":
		p.App = DevApp
	case own == "":
		if p.App = b.App; !appName.MatchString(p.App) {
			return p, kindNotFound.problem(noSuchApp)
		}
		if _, err := v.opt.Store.App(ctx, p.App); err != nil {
			return p, v.appProblem(ctx, "read app", err)
		}
	}
	if b.Endpoint != "" {
		if !endpointName.MatchString(b.Endpoint) {
			return p, kindNotFound.problem(noSuchThing)
		}
		return p, nil
	}
	if err := v.opt.CheckURL(b.Origin); err != nil {
		return p, urlProblem(err)
	}
	p.Origin = job.Origin(b.Origin)
	return p, nil
}

func (v *v1) endPause(ctx context.Context, in *pauseInput) (*reply[client.Pause], error) {
	text, ok := strings.CutPrefix(in.ID, pausePrefix)
	id, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil || id < 1 {
		return nil, kindNotFound.problem(noSuchThing)
	}
	p, err := v.opt.Store.Resume(whole(ctx), appOf(ctx).Name, id, v.now())
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "resume", err)
	}
	return &reply[client.Pause]{showPause(&p)}, nil
}

func showPause(p *job.Pause) client.Pause {
	out := client.Pause{ID: pausePrefix + strconv.FormatInt(p.ID, 10), Operation: p.Operation, App: p.App, Endpoint: p.Endpoint, Origin: p.Origin,
		Since: client.At(p.From), By: p.Who}
	switch {
	case p.Operation != "":
		out.Scope = "operation"
	case p.App != "":
		out.Scope = "destination"
	default:
		out.Scope = "everything"
	}
	return out
}
