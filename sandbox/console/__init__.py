"""The web page of Dumont Cloud: plain HTML and a little JavaScript, which knows only what the API tells it."""
