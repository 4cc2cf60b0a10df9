package job

// Policy narrows down which callback URLs an app or an operation may have, beyond
// what the gateway's outbound policy permits. Its zero value permits any.
type Policy struct {
	// Registered permits no URL that comes with a call: only the app's endpoints.
	Registered bool `json:"registered,omitempty"`
	// Prefixes permits only URLs below one of these: scheme, host and port are the
	// same, and the path begins with the same whole segments.
	Prefixes []string `json:"prefixes,omitempty"`
	// HTTPS permits https only, where the outbound policy permits http.
	HTTPS bool `json:"https,omitempty"`
	// Ports permits these only; none: any.
	Ports []uint16 `json:"ports,omitempty"`
}

// LimitsURLs tells whether the policy forbids any URL by what it is.
func (p *Policy) LimitsURLs() bool { return len(p.Prefixes) > 0 || p.HTTPS || len(p.Ports) > 0 }
