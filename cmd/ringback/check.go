package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ringback/ringback/internal/config"
	"github.com/ringback/ringback/internal/outbound"
)

func newCheckCmd(c *cli) *cobra.Command {
	var callbackURL string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check a configuration, or what would happen to a callback URL",
		Long: `Check the configuration that serve would run with, and print what is wrong in it.
Nothing is opened or listened on, so it can be run beside a running gateway.

With --url it says what would happen to that callback URL: which addresses
would be called, or why none would.`,
		Example: `  ringback check --config ringback.yaml
  ringback check --config ringback.yaml --url https://hooks.internal/bar`,
		Args: cobra.NoArgs,
	}
	o := addConfigFlags(cmd.Flags())
	cmd.Flags().StringVar(&callbackURL, "url", "", "say what would happen to this callback URL")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := o.load()
		if problems, ok := errors.AsType[config.Problems](err); ok {
			return c.showProblems(problems)
		}
		if err != nil {
			return configFailure(err)
		}
		if cmd.Flags().Changed("url") {
			return c.checkCallbackURL(cmd.Context(), s, callbackURL)
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

// checkedURL is what would happen to a callback URL.
type checkedURL struct {
	Origin    string   `json:"origin"`
	Addresses []string `json:"addresses"`
}

func (c *cli) checkCallbackURL(ctx context.Context, s *config.Settings, url string) error {
	client, err := outbound.New(s.Options.Outbound, outbound.Limits{}, outbound.Options{})
	if err != nil {
		return err
	}
	defer client.Close()
	target, addrs, err := client.Explain(ctx, url)
	if err != nil {
		return refusedURL(err)
	}
	checked := checkedURL{Origin: target.Origin()}
	f := fields{{"origin", checked.Origin}}
	for _, addr := range addrs {
		checked.Addresses = append(checked.Addresses, addr.String())
		f = append(f, [2]string{"would call", addr.String()})
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
