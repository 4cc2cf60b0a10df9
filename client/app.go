package client

// AppCreate makes an app.
type AppCreate struct {
	Name string `json:"name" minLength:"1" maxLength:"64" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$" doc:"The app's name." example:"shop"`
}

// App is a client of the API.
type App struct {
	Name      string `json:"name" doc:"The app's name." example:"shop"`
	CreatedAt Time   `json:"created_at" format:"date-time" doc:"When it was made."`
}

// AppCreated is a new app with its first key, which is shown this once.
type AppCreated struct {
	Name      string `json:"name" doc:"The app's name." example:"shop"`
	Key       string `json:"key" doc:"The app's API key. It cannot be shown again."`
	CreatedAt Time   `json:"created_at" format:"date-time" doc:"When it was made."`
}
