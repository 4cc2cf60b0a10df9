package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/config"
	"github.com/ringback/ringback/internal/outbound"
	"github.com/ringback/ringback/job"
)

func newCheckCmd(c *cli) *cobra.Command {
	var of urlToCheck
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check a configuration, or what would happen to a callback URL",
		Long: `Check the configuration that serve would run with, and print what is wrong in it.
Nothing is opened or listened on, so it can be run beside a running gateway.

With --url it says what would happen to that callback URL, and why: what is asked of
it, what its name resolves to here, and what of that may be called. Nothing is
connected to. With --app a running gateway is asked instead, which knows the app's
policy: RINGBACK_KEY or --key is the admin key then.`,
		Example: `  ringback check --config ringback.yaml
  ringback check --config ringback.yaml --url https://hooks.internal/bar --operation scan
  ringback check --url https://my.server/bar --app shop`,
		Args: cobra.NoArgs,
	}
	o := addConfigFlags(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&of.url, "url", "", "say what would happen to this callback URL")
	f.StringVar(&of.operation, "operation", "", "if it came with a call of this operation")
	f.StringVar(&of.app, "app", "", "if it came with a call by this app, of which a running gateway is asked")
	f.StringVar(&c.url, "gateway", cmp.Or(os.Getenv("RINGBACK_URL"), defaultURL), "that gateway (RINGBACK_URL)")
	f.StringVar(&c.key, "key", "", "its admin key (RINGBACK_KEY)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		asked := cmd.Flags().Changed("url")
		switch {
		case !asked && (of.operation != "" || of.app != ""):
			return usagef("--operation and --app need --url")
		case of.app != "":
			return c.askAboutURL(cmd.Context(), of)
		}
		s, err := o.load()
		if problems, ok := errors.AsType[config.Problems](err); ok {
			return c.showProblems(problems)
		}
		if err != nil {
			return configFailure(err)
		}
		if asked {
			return c.checkURL(cmd.Context(), s, of)
		}
		if err := o.somethingToServe(s); err != nil {
			return err
		}
		c.say("the configuration is right")
		return nil
	}
	return cmd
}

// shownProblem is a problem as JSON.
type shownProblem struct {
	Place   string `json:"place"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Key     string `json:"key,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func (c *cli) showProblems(problems config.Problems) error {
	shown := make([]shownProblem, len(problems))
	for i, p := range problems {
		shown[i] = shownProblem{p.Place.Name, p.Place.Line, p.Place.Column, p.Key, p.Message, p.Hint}
		if err := c.showProblem(p, shown[i]); err != nil {
			return err
		}
	}
	if c.output == "json" {
		if err := c.showJSON(shown); err != nil {
			return err
		}
	}
	problem := "problems"
	if len(problems) == 1 {
		problem = "problem"
	}
	return &failure{code: exitUsage, err: fmt.Errorf("the configuration has %d %s", len(problems), problem),
		hint: "docs/configuration.md explains every key"}
}

// showProblem writes a problem as a compiler does, for editors to jump to it.
func (c *cli) showProblem(p config.Problem, shown shownProblem) error {
	switch c.output {
	case "json":
		return nil
	case "jsonl":
		return c.showJSON(shown)
	}
	if err := c.print(clean(p.Error())); err != nil || p.Hint == "" {
		return err
	}
	return c.print("    " + c.paint(yellow, "hint:") + " " + clean(p.Hint))
}

// urlToCheck is a callback URL, and whose call it came with.
type urlToCheck struct{ url, operation, app string }

// checkURL asks a configuration about a URL.
func (c *cli) checkURL(ctx context.Context, s *config.Settings, of urlToCheck) error {
	var op *job.Operation
	for i := range s.Options.Operations {
		if s.Options.Operations[i].Name == of.operation {
			op = &s.Options.Operations[i].Operation
		}
	}
	if op == nil && of.operation != "" {
		return usagef("the configuration has no operation %s", of.operation)
	}
	checked, refusal := ringback.CheckURL(ctx, s.Options, of.url, op)
	if err := c.showCheckedURL(&checked); err != nil {
		return err
	}
	if refusal != nil {
		return refusedURL(refusal)
	}
	return nil
}

// askAboutURL asks a running gateway.
func (c *cli) askAboutURL(ctx context.Context, of urlToCheck) error {
	c.prefix = os.Getenv("RINGBACK_PREFIX")
	gw, err := c.gateway()
	if err != nil {
		return err
	}
	checked, err := gw.CheckURL(ctx, client.URLCheck{URL: of.url, Operation: of.operation, App: of.app})
	if err != nil {
		return err
	}
	if err := c.showCheckedURL(checked); err != nil {
		return err
	}
	if !checked.Allowed {
		return &failure{code: exitRefused, err: errors.New("it would not be called")}
	}
	return nil
}

// showCheckedURL shows what was asked of a URL, a line for each question.
func (c *cli) showCheckedURL(checked *client.URLChecked) error {
	if c.output != "table" {
		return c.showJSON(checked)
	}
	f := fields{{"origin", checked.Origin}}
	for _, s := range checked.Steps {
		verdict := "ok"
		if !s.OK {
			verdict = "refused"
		}
		f = append(f, [2]string{s.Step, fmt.Sprintf("%-7s  %s", verdict, s.Detail)})
	}
	for _, addr := range checked.Addresses {
		f = append(f, [2]string{"would call", addr})
	}
	return c.show(checked, f)
}

// refusedURL says why a callback URL would not be called.
func refusedURL(err error) error {
	f := &failure{code: exitRefused, err: fmt.Errorf("it would not be called: %w", err)}
	refusal, ok := errors.AsType[*outbound.URLError](err)
	switch {
	case !ok:
		f.code = exitUnavailable
	case refusal.Rule == outbound.RuleAddress, refusal.Rule == outbound.RulePort:
		f.hint = "outbound.allow in the configuration names what may be called beyond public addresses"
	case refusal.Rule == outbound.RuleScheme:
		f.hint = "outbound.http: true permits plain http"
	}
	return f
}
