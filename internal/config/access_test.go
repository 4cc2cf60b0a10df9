package config

import (
	"strings"
	"testing"
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
