package client

import "context"

// URLCheck asks what would happen to a callback URL.
type URLCheck struct {
	URL       string `json:"url" maxLength:"4096" doc:"The callback URL." example:"https://my.server/bar"`
	Operation string `json:"operation,omitempty" maxLength:"64" doc:"Ask the policy of this operation, too." example:"scan"`
	App       string `json:"app,omitempty" maxLength:"64" doc:"Ask the policy of this app, too." example:"shop"`
}

// URLChecked says what would happen to a callback URL now, and why.
type URLChecked struct {
	Allowed   bool      `json:"allowed" doc:"It would be called."`
	Origin    string    `json:"origin,omitempty" doc:"Scheme, host and port in their normal form; absent where the URL cannot be read." example:"https://my.server"`
	Steps     []URLStep `json:"steps" nullable:"false" doc:"What was asked, in that order, up to what refuses the URL."`
	Addresses []string  `json:"addresses,omitempty" nullable:"false" doc:"What would be connected to, in that order. Absent where a proxy resolves the name." example:"93.184.216.34:443"`
}

// URLStep is a question that is asked of a callback URL.
type URLStep struct {
	Step   string `json:"step" doc:"What is looked at: syntax or another rule, scheme, host, port, operation NAME, app NAME, dns, address ADDRESS, route." example:"scheme"`
	OK     bool   `json:"ok" doc:"It permits the URL."`
	Detail string `json:"detail" doc:"Why." example:"https"`
}

// CheckURL asks what would happen to a callback URL. It needs the admin key. The gateway
// resolves the name, and connects to nobody.
func (c *Client) CheckURL(ctx context.Context, check URLCheck) (*URLChecked, error) {
	return ask[URLChecked](ctx, c, "POST", "/check-url", check)
}
