package config

import (
	"github.com/ringback/ringback/internal/redact"
	"github.com/ringback/ringback/job"
)

// redaction is the block of what is not to be kept of an operation's bodies.
type redaction struct {
	Request []pointer `yaml:"request"`
	Result  []pointer `yaml:"result"`
	Answer  []pointer `yaml:"answer"`
	NotJSON notJSON   `yaml:"not_json"`
}

func (r redaction) redaction() job.Redaction {
	return job.Redaction{Request: convert[string](r.Request), Result: convert[string](r.Result), Answer: convert[string](r.Answer),
		KeepOther: r.NotJSON == "keep"}
}

// pointer is a JSON pointer, in which * stands for every member or element.
type pointer string

func (p *pointer) parse(text string) error {
	if _, err := redact.Parse([]string{text}, false); err != nil {
		return wrong(`write a JSON pointer, such as /card/number or /items/*/name, or "" for the whole body`, "%v", err)
	}
	*p = pointer(text)
	return nil
}

// notJSON says what happens to a body that is to be redacted and is no JSON.
type notJSON string

func (n *notJSON) parse(text string) error {
	if text != "drop" && text != "keep" {
		return wrong("write drop, which is the default, or keep", "%q is neither", text)
	}
	*n = notJSON(text)
	return nil
}
