package main

import (
	"cmp"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker for a release (-X main.version=v1.2.3).
var version string

// buildVersion is the program's version, a token that can stand in User-Agent: that
// of the release, else what the go command stamped.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return cmp.Or(version, stampedVersion(info))
}

// stampedVersion is the module's version where the go command knew one, else devel,
// with the revision where it knew that: "devel+abcdef123456".
func stampedVersion(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && s.Value != "" {
			return "devel+" + s.Value[:min(len(s.Value), 12)]
		}
	}
	return "devel"
}

func newVersionCmd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the program's version",
		Example: "  ringback version --output json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return c.show(struct {
				Version  string `json:"version"`
				Go       string `json:"go"`
				Platform string `json:"platform"`
			}{buildVersion(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}, fields{
				{"version", buildVersion()},
				{"go", runtime.Version()},
				{"platform", runtime.GOOS + "/" + runtime.GOARCH},
			})
		},
	}
}
