package main

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

func newEndpointCmd(c *cli) *cobra.Command {
	return group("endpoint", "Register callback URLs", c.endpointCreate(), c.endpointList(), c.endpointGet(),
		c.endpointUpdate(), c.endpointDelete(), c.endpointVerify(), c.endpointEnable(), c.endpointSecret(), c.endpointRotate())
}

// endpointFlags are what create and update can set.
type endpointFlags struct {
	signature           string
	isDefault, disabled bool
	ordered             bool
	orderKey            string
	operational         bool
	operations, events  []string
	method, format      string
	headers             []string
	concurrency         int
	rate                string
	progress            string
	auth                authFlags
}

func (e *endpointFlags) add(f *pflag.FlagSet) {
	f.BoolVar(&e.isDefault, "default", false, "takes the callbacks of calls that name no URL")
	f.StringSliceVar(&e.operations, "operations", nil, "the operations that it is the default for; none: all")
	f.StringSliceVar(&e.events, "events", nil, "the events that it is sent: accepted,running,progress,succeeded,failed,canceled,expired; none: those of the operation")
	f.StringVar(&e.signature, "signature", "", `how callbacks are signed: v1, v1a, rfc9421, none, words with commas between, or JSON such as '{"legacy":"github"}'; none given: as the operation says`)
	f.StringVar(&e.method, "method", "", "the HTTP method; none: that of the operation")
	f.StringVar(&e.format, "format", "", "what callbacks look like: "+strings.Join(job.Formats, ", ")+"; none: as the operation says")
	f.StringArrayVarP(&e.headers, "header", "H", nil, `a header of every callback, "Name: value"; may be repeated`)
	f.StringVar(&e.progress, "progress-interval", "", "the least time between two progress callbacks of a job, such as 5s; empty: that of the operation")
	f.IntVar(&e.concurrency, "concurrency", 0, "how many callbacks may be under way at once; 0: the gateway's default")
	f.BoolVar(&e.ordered, "ordered", false, "send callbacks one after the other, in the order in which results were stored")
	f.StringVar(&e.orderKey, "order-key", "", "what of them belongs together, as an expression such as '$request.body#/customer'; none: all")
	f.StringVar(&e.rate, "rate", "", "how many callbacks may begin in a time, such as 50/s, 100/m or 1000/h; empty: any number")
	f.BoolVar(&e.operational, "operational", false, "is told of what happens to the app's other endpoints, and of nothing else")
	f.BoolVar(&e.disabled, "disabled", false, "send nothing there")
	e.auth.add(f)
}

// header is --header as the API has it: one value for each name.
func (e *endpointFlags) header() (map[string]string, error) {
	header, err := headerOf(e.headers)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(header))
	for name, values := range header {
		if len(values) > 1 {
			return nil, usagef("--header names %s twice", name)
		}
		out[name] = values[0]
	}
	return out, nil
}

// patch has what was given on the command line. A list that was given as "" is
// empty: it takes away what there was.
func (e *endpointFlags) patch(f *pflag.FlagSet) (p client.EndpointPatch, err error) {
	if f.Changed("default") {
		p.Default = &e.isDefault
	}
	if f.Changed("operations") {
		p.Operations = append([]string{}, e.operations...)
	}
	if f.Changed("events") {
		p.Events = append([]string{}, e.events...)
	}
	if f.Changed("signature") {
		p.Signature = signatureOf(e.signature)
	}
	if f.Changed("method") {
		p.Method = &e.method
	}
	if f.Changed("format") {
		p.Format = &e.format
	}
	if f.Changed("progress-interval") {
		p.ProgressInterval = &e.progress
	}
	if f.Changed("rate") {
		p.Rate = &e.rate
	}
	if f.Changed("concurrency") {
		p.Concurrency = &e.concurrency
	}
	if f.Changed("ordered") {
		p.Ordered = &e.ordered
	}
	if f.Changed("order-key") {
		p.OrderKey = &e.orderKey
	}
	if f.Changed("operational") {
		p.Operational = &e.operational
	}
	if f.Changed("disabled") {
		p.Disabled = &e.disabled
	}
	if p.Auth, err = e.auth.auth(); err != nil {
		return p, err
	}
	if !f.Changed("header") {
		return p, nil
	}
	if len(e.headers) == 1 && e.headers[0] == "" {
		e.headers = nil
	}
	p.Headers, err = e.header()
	return p, err
}

// signatureOf is --signature as the API has it: words, or JSON.
func signatureOf(text string) any {
	if json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	return text
}

// signatureText is a signature as --signature has it.
func signatureText(v any) string {
	if text, ok := v.(string); ok || v == nil {
		return text
	}
	data, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(data)
}

func (c *cli) showEndpoint(e *client.Endpoint) error {
	f := fields{
		{"name", e.Name},
		{"url", e.URL},
		{"default", yes(e.Default)},
		{"operations", strings.Join(e.Operations, ", ")},
		{"events", strings.Join(e.Events, ", ")},
		{"progress interval", e.ProgressInterval},
		{"method", e.Method},
		{"signature", signatureText(e.Signature)},
		{"format", e.Format},
		{"concurrency", count(e.Concurrency)},
		{"ordered", yes(e.Ordered)},
		{"order key", e.OrderKey},
		{"rate", e.Rate},
		{"operational", yes(e.Operational)},
		{"failing since", local(e.FailingSince)},
		{"disabled", showDisabled(e)},
		{"auth", showAuth(e.Auth)},
		{"verification", showVerification(e.Verification)},
		{"created", local(e.CreatedAt)},
		{"updated", local(e.UpdatedAt)},
	}
	for _, name := range sortedKeys(e.Headers) {
		f = append(f, [2]string{"header", name + ": " + e.Headers[name]})
	}
	return c.show(e, f)
}

func (c *cli) endpointCreate() *cobra.Command {
	var given endpointFlags
	cmd := &cobra.Command{
		Use:   "create NAME CALLBACK-URL",
		Short: "Register a callback URL",
		Example: `  ringback endpoint create shop https://my.server/bar --default
  ringback endpoint create audit https://my.server/audit --events failed -H 'X-Tenant: 7'
  RINGBACK_AUTH_SECRET=hunter2 ringback endpoint create shop https://my.server/bar --auth basic --auth-user bob`,
		Args: cobra.ExactArgs(2),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			header, err := given.header()
			if err != nil {
				return err
			}
			auth, err := given.auth.auth()
			if err != nil {
				return err
			}
			var signature any
			if given.signature != "" {
				signature = signatureOf(given.signature)
			}
			e, err := gw.CreateEndpoint(ctx, client.EndpointCreate{
				Name: args[0], URL: args[1], Default: given.isDefault, Operations: given.operations, Events: given.events,
				Method: given.method, Signature: signature, Format: given.format, Headers: header, Concurrency: given.concurrency, Rate: given.rate, Disabled: given.disabled, Operational: given.operational,
				ProgressInterval: given.progress, Auth: auth, Ordered: given.ordered, OrderKey: given.orderKey,
			})
			if err != nil {
				return err
			}
			return c.showEndpoint(e)
		}),
	}
	given.add(cmd.Flags())
	return cmd
}

func (c *cli) endpointList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the app's endpoints",
		Example: "  ringback endpoint list",
		Args:    cobra.NoArgs,
		RunE: c.ask(func(ctx context.Context, gw *client.Client, _ []string) error {
			return showList(c, gw.Endpoints(ctx), 0, table[client.Endpoint]{
				header: []string{"NAME", "URL", "DEFAULT", "OPERATIONS", "EVENTS", "METHOD", "FORMAT", "SIGNATURE", "DISABLED"},
				row: func(e client.Endpoint) []string {
					return []string{e.Name, e.URL, yes(e.Default), strings.Join(e.Operations, ","), strings.Join(e.Events, ","),
						e.Method, e.Format, signatureText(e.Signature), yes(e.Disabled)}
				},
			})
		}),
	}
}

func (c *cli) endpointGet() *cobra.Command {
	return &cobra.Command{
		Use:     "get NAME",
		Short:   "Show an endpoint",
		Example: "  ringback endpoint get shop",
		Args:    cobra.ExactArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			e, err := gw.Endpoint(ctx, args[0])
			if err != nil {
				return err
			}
			return c.showEndpoint(e)
		}),
	}
}

func (c *cli) endpointUpdate() *cobra.Command {
	var given endpointFlags
	cmd := &cobra.Command{
		Use:   "update NAME [CALLBACK-URL]",
		Short: "Change an endpoint",
		Long: `Change an endpoint. What is not given stays as it is; a list that is given as ""
takes away what there was.`,
		Example: `  ringback endpoint update shop https://my.server/new
  ringback endpoint update shop --disabled
  ringback endpoint update shop --operations ""`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			gw, err := c.gateway()
			if err != nil {
				return err
			}
			patch, err := given.patch(cmd.Flags())
			if err != nil {
				return err
			}
			if len(args) == 2 {
				patch.URL = &args[1]
			}
			e, err := gw.UpdateEndpoint(cmd.Context(), args[0], patch)
			if err != nil {
				return err
			}
			return c.showEndpoint(e)
		},
	}
	given.add(cmd.Flags())
	return cmd
}

func (c *cli) endpointDelete() *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME",
		Short:   "Remove an endpoint",
		Example: "  ringback endpoint delete shop",
		Args:    cobra.ExactArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			if err := gw.DeleteEndpoint(ctx, args[0]); err != nil {
				return err
			}
			c.say("endpoint %s is deleted", args[0])
			return nil
		}),
	}
}

func (c *cli) endpointSecret() *cobra.Command {
	return c.secretCmd("secret", "Print the secret that callbacks to an endpoint are signed with",
		(*client.Client).Secret)
}

func (c *cli) endpointRotate() *cobra.Command {
	return c.secretCmd("rotate", "Replace that secret; the old one signs too for a day",
		(*client.Client).RotateSecret)
}

// secretCmd prints the secret alone, so that it can go into a variable or a file.
func (c *cli) secretCmd(name, short string, secretOf func(*client.Client, context.Context, string) (*client.Secret, error)) *cobra.Command {
	return &cobra.Command{
		Use:     name + " [NAME]",
		Short:   short,
		Long:    short + ".\nWithout a name it is the app's own, for URLs that are sent with a call.",
		Example: "  ringback endpoint " + name + "\n  ringback endpoint " + name + " shop",
		Args:    cobra.MaximumNArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			name := ""
			if len(args) > 0 {
				if name = args[0]; name == "" {
					return usagef("the endpoint's name is empty")
				}
			}
			secret, err := secretOf(gw, ctx, name)
			if err != nil {
				return err
			}
			if c.output != "table" {
				return c.showJSON(secret)
			}
			if !secret.PreviousUntil.IsZero() {
				c.say("the secret before it signs too until %s; another rotation ends it at once", local(secret.PreviousUntil))
			}
			if secret.LegacySecret != "" {
				c.say("legacy schemes sign with the secret that was brought along: -o json shows it as legacy_secret")
			}
			return c.print(clean(secret.Secret))
		}),
	}
}
