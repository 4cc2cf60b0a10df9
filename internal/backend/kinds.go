package backend

import "fmt"

// Kinds makes a backend of each kind that a configuration can name. decode reads
// the kind's block strictly into the struct that it is given. What is wrong with
// a block's content is a *ConfigError.
var Kinds = map[string]func(decode func(any) error) (Backend, error){
	"clamd":   kind(NewClamd),
	"command": kind(NewCommand),
	"http":    kind(NewHTTP),
	"relay":   kind(NewRelay),
}

func kind[C any, B Backend](build func(C) (B, error)) func(func(any) error) (Backend, error) {
	return func(decode func(any) error) (Backend, error) {
		var config C
		if err := decode(&config); err != nil {
			return nil, err
		}
		b, err := build(config)
		if err != nil {
			return nil, err
		}
		return b, nil
	}
}

// ConfigError says what is wrong with a field of a backend's configuration.
type ConfigError struct {
	Field   string // kind and field: "http.url"
	Message string
}

func (e *ConfigError) Error() string { return "backend." + e.Field + ": " + e.Message }

func configError(field, format string, args ...any) error {
	return &ConfigError{Field: field, Message: fmt.Sprintf(format, args...)}
}
