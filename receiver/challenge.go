package receiver

import (
	"encoding/json"
	"net/http"
	"strings"
)

// What tells the message by which a gateway asks whether callbacks are wanted here:
// no callback has such an id, whatever its body is.
const (
	verificationID   = "ver_"
	verificationType = "endpoint.verification"
)

// Challenge is what the answer has to repeat to a gateway that asks whether callbacks
// are wanted here; empty in every other message. Handler and Middleware answer it by
// themselves: whoever can verify it has the endpoint's secret.
func (m Message) Challenge() string {
	var asked struct {
		Type string `json:"type"`
		Data struct {
			Challenge string `json:"challenge"`
		} `json:"data"`
	}
	if !strings.HasPrefix(m.ID, verificationID) || json.Unmarshal(m.Body, &asked) != nil || asked.Type != verificationType {
		return ""
	}
	return asked.Data.Challenge
}

// Consent answers a challenge.
func Consent(w http.ResponseWriter, challenge string) {
	w.Header().Set("Content-Type", "application/json")
	answer := struct {
		Challenge string `json:"challenge"`
	}{challenge}
	_ = json.NewEncoder(w).Encode(answer) // the sender may have gone; it will ask again
}
