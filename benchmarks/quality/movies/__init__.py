"""A climb on pretrained weights and real people's ratings of films; its data, outside measures and studies."""
