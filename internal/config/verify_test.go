package config

import (
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
)

func TestProofIsReadFromTheFile(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]job.Proof{"none": job.ProofNone, "challenge": job.ProofChallenge, "handshake": job.ProofHandshake} {
		s := mustLoad(t, "upstream: http://127.0.0.1:9000\noutbound: {verify: "+text+", verify_every: 7d}", Sources{}, nil)
		if s.Options.Proof != want || s.Options.ProofLasts != 7*24*time.Hour {
			t.Errorf("%s: %q, %v", text, s.Options.Proof, s.Options.ProofLasts)
		}
	}
	_, err := loadText(t, "upstream: http://127.0.0.1:9000\noutbound:\n  verify: maybe", Sources{}, nil)
	if err == nil || !strings.Contains(err.Error(), "3:11: outbound.verify: ") {
		t.Errorf("%v", err)
	}
}

func TestTheTimeUntilAnEndpointIsDisabledMayBeNever(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"0": -1, "12h": 12 * time.Hour, "10d": 240 * time.Hour} {
		s := mustLoad(t, "upstream: http://127.0.0.1:9000\noutbound: {disable_after: "+text+"}", Sources{}, nil)
		if s.Options.DisableAfter != want {
			t.Errorf("%s is %v", text, s.Options.DisableAfter)
		}
	}
	for _, text := range []string{"-1h", "soon", "0s"} {
		if _, err := loadText(t, "upstream: http://127.0.0.1:9000\noutbound:\n  disable_after: "+text, Sources{}, nil); err == nil || !strings.Contains(err.Error(), "3:18: outbound.disable_after: ") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
