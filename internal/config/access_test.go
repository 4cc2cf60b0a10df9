package config

import (
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
)

func TestTrustedProxiesAreAddressesOrUnix(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, "trusted_proxies: [10.1.2.3/8, 192.0.2.1, '2001:db8::/32', unix, '::ffff:192.0.2.2']\n", Sources{}, nil)
	var got []string
	for _, p := range s.Options.Proxies.Prefixes {
		got = append(got, p.String())
	}
	if text := strings.Join(got, " "); text != "10.0.0.0/8 192.0.2.1/32 2001:db8::/32 192.0.2.2/32" || !s.Options.Proxies.Unix {
		t.Errorf("%s, unix %v", text, s.Options.Proxies.Unix)
	}
	for _, bad := range []string{"proxy.example", "10.0.0.0/33", "fe80::1%eth0", "''"} {
		if _, err := load(Sources{LookupEnv: func(string) (string, bool) { return "", false }}, []byte("trusted_proxies: ["+bad+"]\n"), nil); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestLimitsOfAppsAreRead(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, "limits: {calls: 6000/m, jobs: 1000, bytes: 10GiB, endpoints: 20}\n", Sources{}, nil)
	if want := (job.Limits{Calls: 6000, Per: time.Minute, Jobs: 1000, Bytes: 10 << 30, Endpoints: 20}); s.Options.Limits != want {
		t.Errorf("%+v, want %+v", s.Options.Limits, want)
	}
	if s = mustLoad(t, "", Sources{}, nil); s.Options.Limits != (job.Limits{}) {
		t.Errorf("without any: %+v", s.Options.Limits)
	}
	for _, bad := range []string{"calls: 100", "calls: 0/s", "calls: 5/y", "calls: -1/s", "jobs: 0", "bytes: 1.5GiB", "rate: 1/s"} {
		if _, err := loadText(t, "limits: {"+bad+"}\n", Sources{}, nil); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestAdminListensElsewhere(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, "listen: unix:/run/ringback/public.sock\nadmin_listen: 127.0.0.1:8081\nmax_connections: 500\n", Sources{}, nil)
	if s.Listen != "unix:/run/ringback/public.sock" || s.AdminListen != "127.0.0.1:8081" || !s.Options.SplitAdmin || s.MaxConnections != 500 {
		t.Errorf("%+v", s)
	}
	s = mustLoad(t, "", Sources{}, map[string]string{"RINGBACK_ADMIN_LISTEN": "unix:a.sock"})
	if s.AdminListen != "unix:a.sock" {
		t.Errorf("by the environment: %q", s.AdminListen)
	}
	if _, err := loadText(t, "admin_listen: 0.0.0.0:8081\n", Sources{Dev: true}, nil); err == nil {
		t.Error("with --dev every address is listened on")
	}
	for _, bad := range []string{"8081", "unix:", "host"} {
		if _, err := loadText(t, "admin_listen: '"+bad+"'\n", Sources{}, nil); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
