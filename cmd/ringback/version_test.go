package main

import (
	"regexp"
	"runtime/debug"
	"testing"
)

func TestVersionCanStandInUserAgent(t *testing.T) {
	t.Parallel()
	token := regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$") // RFC 9110 §5.6.2
	for want, info := range map[string]*debug.BuildInfo{
		"devel":                     {},
		"v1.2.3":                    {Main: debug.Module{Version: "v1.2.3"}},
		"v0.0.0-2026-abcdef0+dirty": {Main: debug.Module{Version: "v0.0.0-2026-abcdef0+dirty"}},
		"devel+abc":                 {Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}}},
		"devel+abcdef123456": {Main: debug.Module{Version: "(devel)"},
			Settings: []debug.BuildSetting{{Key: "vcs", Value: "git"}, {Key: "vcs.revision", Value: "abcdef1234567890abcdef"}}},
	} {
		if got := stampedVersion(info); got != want || !token.MatchString(got) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := buildVersion(); !token.MatchString(got) {
		t.Errorf("this program's version is %q", got)
	}
}
