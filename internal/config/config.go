// Package config reads the configuration of a gateway: one YAML file, environment
// variables and flags. What is wrong in it is said with its place and with what to
// do about it, all at once. docs/configuration.md explains every key.
package config

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/job"
)

// Sources are where a configuration comes from.
type Sources struct {
	// Path of the file; empty for none.
	Path string
	// Flags hold values by key, such as "listen". They win over the environment,
	// which wins over the file.
	Flags map[string]string
	// LookupEnv is os.LookupEnv where it is nil.
	LookupEnv func(string) (string, bool)
	// Dev is the gateway's option of that name.
	Dev bool
}

// Settings are a configuration that was found to be right.
type Settings struct {
	Listen string // host:port, or unix:PATH
	// AdminListen is where the routes of the admin key are served alone, written as
	// Listen; empty: there, too.
	AdminListen    string
	MaxConnections int    // of a listener; 0: the default
	Store          string // the path of the SQLite file
	Log            Log
	// TLS is nil where the gateway listens without.
	TLS *TLS
	// SealKey says where the seal keys come from; zero where nothing is configured.
	SealKey SealKey
	// Options have no Log, no Version and no SealKey;
	// PublicURL is empty unless configured.
	Options ringback.Options
}

// Log says what is logged, and how.
type Log struct {
	Level  slog.Level
	Format string // text or json; empty: whatever suits standard error
}

// file is the shape of the YAML file. Every zero value means the default.
type file struct {
	Listen       listenAddress         `yaml:"listen"`
	AdminListen  listenAddress         `yaml:"admin_listen"`
	MaxConns     count                 `yaml:"max_connections"`
	Limits       limitsBlock           `yaml:"limits"`
	Store        storePath             `yaml:"store"`
	Bodies       bodyDir               `yaml:"bodies"`
	PublicURL    publicURL             `yaml:"public_url"`
	Prefix       prefix                `yaml:"prefix"`
	Docs         unless                `yaml:"docs"`
	Dashboard    unless                `yaml:"dashboard"`
	Upstream     upstreamURL           `yaml:"upstream"`
	Outbound     outboundBlock         `yaml:"outbound"`
	AdminKey     adminKey              `yaml:"admin_key"`
	Proxies      []proxy               `yaml:"trusted_proxies"`
	SealKey      sealKey               `yaml:"seal_key"`
	Retention    duration              `yaml:"retention"`
	Audit        auditBlock            `yaml:"audit"`
	TLS          tlsBlock              `yaml:"tls"`
	DrainTimeout duration              `yaml:"drain_timeout"`
	MaxWait      duration              `yaml:"max_wait"`
	Log          logBlock              `yaml:"log"`
	Operations   map[string]*operation `yaml:"operations"`
}

type outboundBlock struct {
	HTTP              bool      `yaml:"http"`
	Allow             []allowed `yaml:"allow"`
	Proxy             proxyURL  `yaml:"proxy"`
	ProxyNames        bool      `yaml:"proxy_names"`
	Source            texts     `yaml:"source"`
	CAFile            caFile    `yaml:"ca_file"`
	Verify            proof     `yaml:"verify"`
	VerifyEvery       duration  `yaml:"verify_every"`
	DisableAfter      orNever   `yaml:"disable_after"`
	OriginConcurrency count     `yaml:"origin_concurrency"`
}

type auditBlock struct {
	Retention duration `yaml:"retention"`
}

type logBlock struct {
	Level  logLevel  `yaml:"level"`
	Format logFormat `yaml:"format"`
}

// The defaults that are not the gateway's own.
const (
	defaultListen = "127.0.0.1:8080"
	defaultStore  = "ringback.db"
)

// Load reads a configuration. Its error is Problems, or says why the file cannot
// be read.
func Load(s Sources) (*Settings, error) {
	var data []byte
	if s.Path != "" {
		var err error
		if data, err = os.ReadFile(s.Path); err != nil {
			return nil, fmt.Errorf("read the configuration: %w", err)
		}
	}
	if s.LookupEnv == nil {
		s.LookupEnv = os.LookupEnv
	}
	return load(s, data, readSecret)
}

func load(s Sources, data []byte, readFile func(string) ([]byte, error)) (*Settings, error) {
	d := &decoder{name: s.Path, lookupEnv: s.LookupEnv, readFile: readFile, flags: s.Flags,
		anchors: map[string]ast.Node{}, places: map[string]Place{}, overrides: map[string]string{}, expansions: map[string]string{}}
	var f file
	d.document(data, reflect.ValueOf(&f).Elem())
	d.override("", reflect.ValueOf(&f).Elem())
	settings := d.settings(&f, s.Dev)
	if len(d.problems) > 0 {
		d.problems.sort()
		return nil, d.problems
	}
	return settings, nil
}

func (d *decoder) settings(f *file, dev bool) *Settings {
	s := &Settings{
		Listen: cmp.Or(string(f.Listen), defaultListen),
		Store:  cmp.Or(string(f.Store), defaultStore),
		Log:    Log{Level: slog.Level(f.Log.Level), Format: string(f.Log.Format)},
		Options: ringback.Options{
			Upstream:          f.Upstream.URL,
			AdminKey:          string(f.AdminKey),
			PublicURL:         string(f.PublicURL),
			Prefix:            string(f.Prefix),
			NoDocs:            bool(f.Docs),
			NoDashboard:       bool(f.Dashboard),
			Dev:               dev,
			Outbound:          ringback.Outbound{HTTP: f.Outbound.HTTP || dev, Loopback: dev},
			Proof:             job.Proof(f.Outbound.Verify),
			ProofLasts:        time.Duration(f.Outbound.VerifyEvery),
			DisableAfter:      time.Duration(f.Outbound.DisableAfter),
			Retention:         time.Duration(f.Retention),
			DrainTimeout:      time.Duration(f.DrainTimeout),
			MaxWait:           time.Duration(f.MaxWait),
			OriginConcurrency: int(f.Outbound.OriginConcurrency),
		},
	}
	s.SealKey, s.TLS = SealKey(f.SealKey), d.tls(f.TLS)
	s.Options.AuditRetention = time.Duration(f.Audit.Retention)
	s.AdminListen, s.MaxConnections = string(f.AdminListen), int(f.MaxConns)
	s.Options.SplitAdmin = s.AdminListen != ""
	if dev && s.AdminListen != "" && !isLoopback(s.AdminListen) {
		d.problem("admin_listen", wrong("listen on 127.0.0.1, or leave --dev out and give the apps keys",
			"with --dev, which asks for no key, only loopback can be listened on, not %s", s.AdminListen))
	}
	s.Options.Limits = f.Limits.limits()
	for _, p := range f.Proxies {
		p.add(&s.Options.Proxies)
	}
	// Beside the store, since two gateways must not share a folder.
	s.Options.BodyDir = cmp.Or(string(f.Bodies), strings.TrimSuffix(s.Store, ".db")+"-bodies")
	for _, entry := range f.Outbound.Allow {
		s.Options.Outbound.Allow = append(s.Options.Outbound.Allow, string(entry))
	}
	d.egress(f, &s.Options)
	if dev && !isLoopback(s.Listen) {
		d.problem("listen", wrong("listen on 127.0.0.1, or leave --dev out and give the apps keys",
			"with --dev, which asks for no key, only loopback can be listened on, not %s", s.Listen))
	}
	s.Options.Operations = d.operations(f, s.Options)
	return s
}

// isLoopback tells whether an address to listen on is reached from this machine
// only.
func isLoopback(listen string) bool {
	if strings.HasPrefix(listen, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}
