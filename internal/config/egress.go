package config

import (
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"net/url"
	"os"

	"github.com/ringback/ringback"
)

// proxyURL is a proxy, perhaps with a name and a password.
type proxyURL struct{ *url.URL }

func (proxyURL) confidential() {}

func (p *proxyURL) parse(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		// The error's own text would repeat the password.
		return wrong(proxyHint, "is no URL")
	}
	if err := (ringback.Egress{Proxy: u}).Validate(); err != nil {
		return wrong(proxyHint, "%v", err)
	}
	p.URL = u
	return nil
}

const proxyHint = "write http://HOST:PORT, or https, with NAME:PASSWORD@ before the host where the proxy wants it; ${VARIABLE} keeps it out of the file"

// caFile names a file of certificates.
type caFile string

func (f *caFile) parse(text string) error {
	*f = caFile(text)
	return nil
}

const sourceHint = "write an address of this machine, such as 192.0.2.7, or one of each family: [192.0.2.7, 2001:db8::7]"

// egress sets which way callbacks leave.
func (d *decoder) egress(f *file, o *ringback.Options) {
	o.Egress = ringback.Egress{Proxy: f.Outbound.Proxy.URL, ProxyNames: f.Outbound.ProxyNames}
	if o.Egress.ProxyNames && o.Egress.Proxy == nil {
		d.problem("outbound.proxy_names", wrong("set outbound.proxy, or leave this out", "there is no proxy to leave names to"))
	}
	for _, text := range f.Outbound.Source {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			d.problem("outbound.source", wrong(sourceHint, "%q is not an address", text))
			return
		}
		o.Egress.Source = append(o.Egress.Source, addr)
	}
	if err := (ringback.Egress{Source: o.Egress.Source}).Validate(); err != nil {
		d.problem("outbound.source", wrong(sourceHint, "%v", err))
	}
	if f.Outbound.CAFile != "" {
		d.authorities(string(f.Outbound.CAFile), o)
	}
}

// authorities adds those of a file to the system's.
func (d *decoder) authorities(path string, o *ringback.Options) {
	const hint = "a file of certificates in PEM: -----BEGIN CERTIFICATE-----"
	content, err := os.ReadFile(path)
	if err != nil {
		d.problem("outbound.ca_file", wrong("it must be there, and readable for the user who runs ringback", "the file cannot be read: %v", err))
		return
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a machine without any
	}
	found := 0
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			d.problem("outbound.ca_file", wrong(hint, "block %d of the file is no certificate", found+1))
			return
		}
		pool.AddCert(certificate)
		found++
	}
	if found == 0 {
		d.problem("outbound.ca_file", wrong(hint, "there is no certificate in the file"))
		return
	}
	o.RootCAs = pool
}
